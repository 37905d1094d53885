// Runs a kernel's grid: its blocks in turn on one OS thread, or shared out to several.
#pragma once

#include <pthread.h>

#include <atomic>
#include <new>

#include "scheduler.h"

namespace codex::on_cpu {

constexpr int kMaxWorkers = 16;

struct Settings {
  int order = kForward;
  uint64_t seed = 0;
  int num_workers = 1;
};
inline Settings settings;
inline Block* workers_blocks[kMaxWorkers];  // kept from launch to launch: their stacks are dear to make

struct Grid {
  dim3 blocks, threads;
  size_t dynamic_bytes;
  void (*body)(void*);
  void* arguments;
  std::atomic<uint64_t> next{0};
};
struct Worker {
  Grid* grid;
  int number;
};

// A pthread's body: takes blocks while there are any.
inline void* work(void* of) {
  Grid& grid = *static_cast<Worker*>(of)->grid;
  const int number = static_cast<Worker*>(of)->number;
  Block*& block = workers_blocks[number];
  if (block == nullptr) block = new (std::nothrow) Block;
  const Order order(settings.order, settings.seed + static_cast<uint64_t>(number));
  if (block == nullptr ||
      !block->prepare(grid.blocks, grid.threads, grid.dynamic_bytes, grid.body, grid.arguments, order)) {
    fault("no memory for the stacks of %u threads", grid.threads.x * grid.threads.y * grid.threads.z);
    return nullptr;
  }
  const uint64_t count = static_cast<uint64_t>(grid.blocks.x) * grid.blocks.y * grid.blocks.z;
  for (uint64_t at; !faulted() && (at = grid.next++) < count;)
    block->run({static_cast<unsigned>(at % grid.blocks.x), static_cast<unsigned>(at / grid.blocks.x % grid.blocks.y),
                static_cast<unsigned>(at / (static_cast<uint64_t>(grid.blocks.x) * grid.blocks.y))});
  return nullptr;
}

// False with a fault named. One launch at a time: the caller waits for it.
inline bool run_grid(Grid& grid) {
  forget_fault();
  const unsigned threads = grid.threads.x * grid.threads.y * grid.threads.z;
  if (threads < 1 || threads > Block::kMaxThreads) fault("a block of %u threads", threads);
  if (grid.blocks.x < 1 || grid.blocks.x > 0x7fffffffu || grid.blocks.y < 1 || grid.blocks.y > 65535u ||
      grid.blocks.z < 1 || grid.blocks.z > 65535u)
    fault("a grid of (%u, %u, %u) blocks", grid.blocks.x, grid.blocks.y, grid.blocks.z);
  if (grid.dynamic_bytes > SharedMemory::kDynamicLimit)
    fault("%zu bytes of dynamic shared memory; a block has at most %zu", grid.dynamic_bytes,
          SharedMemory::kDynamicLimit);
  if (faulted()) return false;
  Worker workers[kMaxWorkers];
  pthread_t others[kMaxWorkers];
  int num_others = 0;
  for (int number = 0; number < settings.num_workers; ++number) workers[number] = {&grid, number};
  while (num_others + 1 < settings.num_workers) {
    if (pthread_create(&others[num_others], nullptr, work, &workers[num_others + 1]) != 0) break;
    ++num_others;
  }
  work(&workers[0]);
  for (int number = 0; number < num_others; ++number) pthread_join(others[number], nullptr);
  return !faulted();
}

}  // namespace codex::on_cpu

// For tests: the order of threads (order.h), its seed, and how many OS threads run blocks. 0 where that cannot be.
extern "C" inline __attribute__((used)) int codex_on_cpu_configure(int order, uint64_t seed, int num_workers) {
  using namespace codex::on_cpu;
  if (order < kForward || order > kRandom || num_workers < 1 || num_workers > kMaxWorkers) return 0;
  settings = {order, seed, num_workers};
  return 1;
}
