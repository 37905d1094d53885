#include "documents.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <stdexcept>
#include <thread>
#include <vector>

#include "shingles.h"

namespace codex {
namespace {

constexpr int64_t kDocumentsAtATime = 64;

// Shingles of a document that are kept for the rounds after the first; a larger one is read again, should it need them.
constexpr int64_t kMaxKept = 16 * kMaxSegmentShingles;

// After this many rounds it is likely that there are many equal shingles, and worth while to drop them.
constexpr int kRoundsWithEqualShingles = 4;

struct Loops {
  ReadShingles read;
  FoldShingles fold;
};

Loops loops_for(Instructions instructions) {
  if (!has_instructions(instructions)) throw std::invalid_argument("this processor lacks these instructions");
#if defined(__x86_64__)
  if (instructions == Instructions::kAvx512) return {read_shingles_avx512, fold_shingles_avx512};
  if (instructions == Instructions::kAvx2) return {read_shingles_avx2, fold_shingles_avx2};
#endif
  return {read_shingles_scalar, fold_shingles_scalar};
}

void keep_distinct(std::vector<uint64_t>& shingles) {
  std::sort(shingles.begin(), shingles.end());
  shingles.erase(std::unique(shingles.begin(), shingles.end()), shingles.end());
}

// Sketches one document after another, with the same buffers.
class Sketcher {
 public:
  Sketcher(Loops loops, int num_bins, int shingle_words)
      : loops_(loops), num_bins_(num_bins), shingle_words_(shingle_words), round_(num_bins) {}

  void sketch(const uint8_t* text, int64_t size, const uint8_t* readable_end, uint32_t* bins) {
    std::fill(bins, bins + num_bins_, kEmpty);
    ShingleReader reader{text, size, readable_end, shingle_words_};
    int64_t count = 0;
    bool all_kept = true;
    while (reader.at < size) {
      all_kept = all_kept && count <= kMaxKept;
      uint64_t* const to = make_room(all_kept ? count : 0);
      const int read = loops_.read(reader, to);
      loops_.fold(to, read, 0, num_bins_, bins);
      count += read;
    }
    if (count == 0 || !has_empty(bins)) return;
    if (all_kept) {
      kept_.resize(count);
    } else {
      read_distinct(ShingleReader{text, size, readable_end, shingle_words_});
    }
    fill(bins);
  }

 private:
  bool has_empty(const uint32_t* bins) const { return std::find(bins, bins + num_bins_, kEmpty) != bins + num_bins_; }

  uint64_t* make_room(size_t from) {
    if (kept_.size() < from + kMaxSegmentShingles) kept_.resize(from + kMaxSegmentShingles);
    return kept_.data() + from;
  }

  // Memory: twice the distinct shingles. (A document this long with bins left empty has few.)
  void read_distinct(ShingleReader reader) {
    size_t count = 0, limit = kMaxKept;
    while (reader.at < reader.size) {
      count += loops_.read(reader, make_room(count));
      if (count < limit) continue;
      kept_.resize(count);
      keep_distinct(kept_);
      count = kept_.size();
      limit = std::max<size_t>(kMaxKept, 2 * count);
    }
    kept_.resize(count);
    keep_distinct(kept_);
  }

  // The rounds after the first.
  void fill(uint32_t* bins) {
    for (int round = 1; round < num_bins_; ++round) {
      if (round == kRoundsWithEqualShingles) keep_distinct(kept_);
      for (int bin = 0; bin < num_bins_; ++bin) round_[bin] = bins[bin] == kEmpty ? kEmpty : 0;  // nothing is below 0
      loops_.fold(kept_.data(), kept_.size(), round, num_bins_, round_.data());
      uint32_t largest = 0;
      for (int bin = 0; bin < num_bins_; ++bin) {
        bins[bin] = bins[bin] == kEmpty ? round_[bin] : bins[bin];
        largest = std::max(largest, bins[bin]);
      }
      if (largest != kEmpty) return;
    }
    for (int bin = 0; bin < num_bins_; ++bin) {
      if (bins[bin] != kEmpty) continue;
      const uint64_t step = (static_cast<uint64_t>(num_bins_) + bin + 1) * kStep;
      for (const uint64_t shingle : kept_) {
        bins[bin] = std::min(bins[bin], static_cast<uint32_t>(mix(shingle + step)) & kValueMask);
      }
    }
  }

  const Loops loops_;
  const int num_bins_, shingle_words_;
  std::vector<uint64_t> kept_;
  std::vector<uint32_t> round_;
};

}  // namespace

void sketch_documents(const uint8_t* data, const int64_t* offsets, int64_t num_documents, int num_bins,
                      int shingle_words, Instructions instructions, int num_threads, uint32_t* sketches) {
  const Loops loops = loops_for(instructions);
  const uint8_t* const readable_end = data + offsets[num_documents];
  std::atomic<int64_t> next{0};
  std::vector<std::exception_ptr> faults(num_threads);
  const auto work = [&](int thread) {
    try {
      Sketcher sketcher(loops, num_bins, shingle_words);
      for (int64_t from; (from = next.fetch_add(kDocumentsAtATime)) < num_documents;) {
        const int64_t to = std::min(from + kDocumentsAtATime, num_documents);
        for (int64_t i = from; i < to; ++i) {
          sketcher.sketch(data + offsets[i], offsets[i + 1] - offsets[i], readable_end, sketches + i * num_bins);
        }
      }
    } catch (...) {  // memory
      faults[thread] = std::current_exception();
      next = num_documents;
    }
  };
  std::vector<std::thread> threads;
  for (int thread = 1; thread < num_threads; ++thread) threads.emplace_back(work, thread);
  work(0);
  for (std::thread& thread : threads) thread.join();
  for (const std::exception_ptr& fault : faults) {
    if (fault) std::rethrow_exception(fault);
  }
}

}  // namespace codex
