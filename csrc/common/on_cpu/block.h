// One block of CUDA threads on one OS thread. A thread runs until it meets others: at __syncthreads, at a warp
// operation, at its end. The block then lets others run, and does the exchange when all who were named have come. What
// a GPU leaves undefined is a fault with the thread's number: barriers that not all reach, lanes that were named and
// are elsewhere.
#pragma once

#include <vector_types.h>

#include <cstring>

#include "fiber.h"
#include "order.h"
#include "shared_memory.h"

namespace codex::on_cpu {

enum class Meeting { kNone, kEnd, kBlock, kWarp, kShuffle, kShuffleXor, kShuffleDown, kShuffleUp, kBallot };

struct Place {
  const char* file;
  int line;
};

struct Thread {
  Fiber fiber;
  uint3 index;
  Meeting meeting;  // kNone: it can run
  Place place;
  unsigned mask;
  int source, width;
  uint64_t given, taken;
  unsigned num_warp_meetings, num_block_meetings;
  char warp_tags[2];  // two of a kind, in turn: the next arrival of a fast thread must not order a slow one's last
};

class Block {
 public:
  static constexpr int kWarp = 32, kMaxThreads = 1024;

  // The block whose threads this OS thread runs.
  CODEX_UNSEEN static Block& current() { return *current_; }

  CODEX_UNSEEN Thread& self() { return threads_[running_]; }
  CODEX_UNSEEN uint3 thread_index() { return self().index; }
  CODEX_UNSEEN uint3 index() const { return index_; }
  CODEX_UNSEEN uint3 shape() const { return {shape_.x, shape_.y, shape_.z}; }
  CODEX_UNSEEN uint3 grid() const { return {grid_.x, grid_.y, grid_.z}; }
  SharedMemory& shared_memory() { return shared_memory_; }

  // Before the first block of a launch. False where there is no memory for the threads' stacks.
  CODEX_UNSEEN bool prepare(dim3 grid, dim3 shape, size_t dynamic_bytes, void (*body)(void*), void* arguments,
                            Order order) {
    grid_ = grid;
    shape_ = shape;
    dynamic_bytes_ = dynamic_bytes;
    body_ = body;
    arguments_ = arguments;
    order_ = order;
    num_threads_ = static_cast<int>(shape.x * shape.y * shape.z);
    name_thread(scheduler_.stack);
    current_ = this;
    return make_fibers();
  }
  CODEX_UNSEEN void run(uint3 index);
  CODEX_UNSEEN void synchronise(Place place);
  CODEX_UNSEEN uint64_t exchange(Meeting meeting, unsigned mask, uint64_t given, int source, int width,
                                 Place place);

 private:
  CODEX_UNSEEN bool make_fibers();
  CODEX_UNSEEN bool run_warp(int warp);
  CODEX_UNSEEN bool resolve_warp(int first, int end);
  CODEX_UNSEEN bool resolve(int first, int end, int lane);
  CODEX_UNSEEN static int source_lane(Meeting meeting, int lane, int given, int width);
  CODEX_UNSEEN bool resolve_barrier();
  CODEX_UNSEEN void blame(const char* what, int thread, const char* relation, int other);
  CODEX_UNSEEN static bool alike(const Thread& one, const Thread& other) {
    return one.meeting == other.meeting && one.mask == other.mask && one.width == other.width;
  }
  static inline void live();
  CODEX_UNSEEN void wait(Meeting meeting, Place place) {
    Thread& thread = self();
    thread.meeting = meeting;
    thread.place = place;
    switch_fiber(thread.fiber, scheduler_);
  }

  static inline thread_local Block* current_ = nullptr;

  Thread threads_[kMaxThreads];
  Fiber scheduler_;
  Stacks stacks_;
  SharedMemory shared_memory_;
  Order order_{kForward, 0};
  dim3 grid_, shape_;
  uint3 index_{0, 0, 0};
  size_t dynamic_bytes_ = 0;
  void (*body_)(void*) = nullptr;
  void* arguments_ = nullptr;
  int num_threads_ = 0, num_fibers_ = 0, num_ended_ = 0, running_ = 0;
  bool abandoned_ = false;
  char begin_tag_, end_tag_, barrier_tags_[2];
};

}  // namespace codex::on_cpu

#include "scheduler.h"
