// Which documents hold one of many runs of words: the rolling hash of megatron_codex/corpus/words.py, in one pass.
#pragma once

#include <cstdint>
#include <vector>

namespace codex {

// Runs of num_words words that are looked for: their hashes, rising.
struct Runs {
  int64_t num_words;
  const uint64_t* hashes;
  int64_t num_hashes;
};

// found[i]: 1 when data[offsets[i], offsets[i + 1]) has a run with one of the hashes, else 0, for each i < num_documents.
void find_runs(const uint8_t* data, const int64_t* offsets, int64_t num_documents, const std::vector<Runs>& looked_for,
               uint8_t* found);

}  // namespace codex
