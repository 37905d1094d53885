#include "runs.h"

#include <algorithm>
#include <array>
#include <cstddef>

namespace codex {
namespace {

// As in words.py.
constexpr uint64_t kFirst = 0x9E3779B97F4A7C15, kLast = 0xBF58476D1CE4E5B9, kLength = 0x94D049BB133111EB;
constexpr uint64_t kMix = 0xFF51AFD7ED558CCD, kBase = 0xC4CEB9FE1A85EC53;

// Newton's iteration: each step doubles the number of right bits.
constexpr uint64_t inverse_of(uint64_t odd) {
  uint64_t inverse = odd;
  for (int step = 0; step < 6; ++step) inverse *= 2 - odd * inverse;
  return inverse;
}
constexpr uint64_t kInverse = inverse_of(kBase);
static_assert(kBase * kInverse == 1);

// A byte as it counts in a word, 0 where it is in none.
constexpr std::array<uint8_t, 256> fold_bytes() {
  std::array<uint8_t, 256> folded{};
  for (int byte = 0; byte < 256; ++byte) {
    const bool upper = byte >= 'A' && byte <= 'Z';
    const bool plain = (byte >= '0' && byte <= '9') || (byte >= 'a' && byte <= 'z') || byte == '_' || byte >= 0x80;
    folded[byte] = static_cast<uint8_t>(upper ? byte + 32 : plain ? byte : 0);
  }
  return folded;
}
constexpr std::array<uint8_t, 256> kFolded = fold_bytes();

uint64_t mix(uint64_t hash) {
  hash ^= hash >> 32;
  return hash * kMix;
}

uint64_t hash_word(uint64_t first, uint64_t last, int64_t length) {
  uint64_t hash = first * kFirst + static_cast<uint64_t>(length) * kLength;
  if (length > 8) hash ^= last * kLast;
  hash = mix(hash);
  return hash ^ hash >> 32;
}

// first and last: the word's first and last eight bytes, the earliest in the lowest bits.
void hash_words(const uint8_t* text, int64_t size, std::vector<uint64_t>& hashes) {
  hashes.clear();
  for (int64_t i = 0; i < size;) {
    if (!kFolded[text[i]]) {
      ++i;
      continue;
    }
    uint64_t first = 0, last = 0;
    const int64_t start = i;
    for (uint8_t byte; i < size && (byte = kFolded[text[i]]); ++i) {
      const int64_t length = i - start;
      if (length < 8) first |= static_cast<uint64_t>(byte) << 8 * length;
      last = last >> 8 | static_cast<uint64_t>(byte) << 56;
    }
    hashes.push_back(hash_word(first, last, i - start));
  }
}

// The hashes behind a table of bits, which about one in 64 others passes.
class RunTable {
 public:
  explicit RunTable(const Runs& runs) : runs_(runs) {
    while ((int64_t{1} << bits_) < 64 * runs.num_hashes) ++bits_;
    table_.assign(size_t{1} << (bits_ - 6), 0);
    for (int64_t i = 0; i < runs.num_hashes; ++i) table_[word_of(runs.hashes[i])] |= bit_of(runs.hashes[i]);
    for (int64_t i = 1; i < runs.num_words; ++i) highest_ *= kBase;
  }

  bool is_in(const std::vector<uint64_t>& words) const {
    const int64_t count = static_cast<int64_t>(words.size()) - runs_.num_words + 1;
    if (count < 1 || runs_.num_hashes == 0) return false;
    uint64_t sum = 0;
    for (int64_t i = runs_.num_words; i-- > 0;) sum = sum * kBase + words[i];
    for (int64_t i = 0;; ++i) {
      if (has(mix(sum))) return true;
      if (i + 1 == count) return false;
      sum = (sum - words[i]) * kInverse + words[i + runs_.num_words] * highest_;
    }
  }

 private:
  size_t word_of(uint64_t hash) const { return hash >> (64 - bits_ + 6); }
  uint64_t bit_of(uint64_t hash) const { return uint64_t{1} << (hash >> (64 - bits_) & 63); }
  bool has(uint64_t hash) const {
    return (table_[word_of(hash)] & bit_of(hash)) &&
           std::binary_search(runs_.hashes, runs_.hashes + runs_.num_hashes, hash);
  }

  Runs runs_;
  int bits_ = 10;
  uint64_t highest_ = 1;  // the base to the power of num_words - 1
  std::vector<uint64_t> table_;
};

}  // namespace

void find_runs(const uint8_t* data, const int64_t* offsets, int64_t num_documents, const std::vector<Runs>& looked_for,
               uint8_t* found) {
  const std::vector<RunTable> tables(looked_for.begin(), looked_for.end());
  std::vector<uint64_t> words;
  for (int64_t i = 0; i < num_documents; ++i) {
    hash_words(data + offsets[i], offsets[i + 1] - offsets[i], words);
    found[i] = std::any_of(tables.begin(), tables.end(), [&](const RunTable& table) { return table.is_in(words); });
  }
}

}  // namespace codex
