// Threads that share the parts of one operation.
#pragma once

#include <algorithm>
#include <cstdint>
#include <thread>
#include <vector>

#include "processor.h"

namespace codex {

struct Workers {
  Instructions instructions;
  int num_threads;
};

// A thread of its own is not worth less work than this.
constexpr int64_t kElementsAThread = 1 << 15;

// Calls body(data, number, count) on the threads of the OpenMP that this process has, where it has GNU's: torch's. They
// still turn on their cores for a while after torch's last operation, and threads beside them would have to share those.
// False, and nothing is called, where there is none: this library does not need it.
bool on_openmp(int num_threads, void (*body)(void* data, int number, int count), void* data);

// Calls work(from, to) for all of num_parts, which are shared evenly; num_elements says how much work they are together.
// What is done for a part must not depend on who does it.
template <class Work>
void share_out(int64_t num_parts, int64_t num_elements, Workers workers, Work work) {
  const int64_t worth = num_elements / kElementsAThread + 1;
  const int64_t shares = std::min({static_cast<int64_t>(workers.num_threads), worth, num_parts});
  if (shares <= 1) return work(int64_t{0}, num_parts);
  struct Shared {
    Work* work;
    int64_t num_parts;
  } shared{&work, num_parts};
  const auto share = [](void* data, int number, int count) {
    const auto [work, num_parts] = *static_cast<Shared*>(data);
    (*work)(num_parts * number / count, num_parts * (number + 1) / count);
  };
  // All of its threads: a team of another size than the last one would have to be made anew.
  if (on_openmp(workers.num_threads, share, &shared)) return;
  std::vector<std::thread> threads;
  for (int number = 1; number < shares; ++number) threads.emplace_back(share, &shared, number, static_cast<int>(shares));
  share(&shared, 0, static_cast<int>(shares));
  for (std::thread& thread : threads) thread.join();
}

}  // namespace codex
