#include "documents.h"

#include <algorithm>
#include <atomic>
#include <stdexcept>
#include <thread>
#include <vector>

namespace codex {
namespace {

constexpr int64_t kDocumentsAtATime = 64;

Measure measure_for(Instructions instructions) {
  if (!has_instructions(instructions)) throw std::invalid_argument("this processor lacks these instructions");
#if defined(__x86_64__)
  if (instructions == Instructions::kAvx512) return measure_avx512;
  if (instructions == Instructions::kAvx2) return measure_avx2;
#endif
  return measure_scalar;
}

}  // namespace

void measure_documents(const uint8_t* data, const int64_t* offsets, int64_t num_documents, Instructions instructions,
                       int num_threads, Statistics* found) {
  const Measure measure = measure_for(instructions);
  std::atomic<int64_t> next{0};
  const auto work = [&] {
    for (int64_t from; (from = next.fetch_add(kDocumentsAtATime)) < num_documents;) {
      const int64_t to = std::min(from + kDocumentsAtATime, num_documents);
      for (int64_t i = from; i < to; ++i) found[i] = measure(data + offsets[i], offsets[i + 1] - offsets[i]);
    }
  };
  std::vector<std::thread> threads;
  for (int thread = 1; thread < num_threads; ++thread) threads.emplace_back(work);
  work();
  for (std::thread& thread : threads) thread.join();
}

}  // namespace codex
