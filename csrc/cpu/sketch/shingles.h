// Sketches of documents for near-duplicates: equal places of two sketches estimate the Jaccard similarity of their
// shingles.
//
// Everything here is fixed for ever, for sketches rest on disk. All numbers are 64-bit and wrap around.
//
//   word      a maximal run of ASCII letters, digits, underscores and bytes from 0x80 on
//   its hash  over its bytes in eights (little-endian, the last ones filled up with zeros): h = 0; for each number c,
//             h = (h ^ c) * kWordFactor, h ^= h >> 32
//   shingle   n words in a row; of a document with fewer, all of them; of one without words, none. Its hash x: over the
//             hashes of its words, x = 0; x = x * kShingleFactor + h
//   round r   gives each shingle y = SplitMix64(x + (r + 1) * kStep), a bin (y >> 32) * k >> 32 and a value, the lowest
//             31 bits of y
//   sketch    k bins. Round 0 puts the smallest value into each bin that a shingle falls into: one-permutation hashing
//             (Li, Owen, Zhang 2012). Rounds 1, 2, ... k - 1 do so for the bins that are empty at their begin, while
//             there are any; round k + i puts all shingles into bin i, should it be empty still. All are kEmpty where
//             there is no word
//
// That is Fast Similarity Sketching (Dahlgaard, Knudsen, Thorup, FOCS 2017, arXiv 1704.04370): unbiased, as optimal
// densification is (Shrivastava 2017, arXiv 1703.04664), but an empty bin draws anew where that copies another bin.
// Measured for 3 to 1,400 shingles the variance is at most MinHash's J (1 - J) / k (tests/corpus/test_sketches.py);
// with copies it is up to 1.5 times that where shingles are fewer than bins.
#pragma once

#include <cstdint>

namespace codex {

constexpr uint64_t kWordFactor = 0xD6E8FEB86659FD93;     // odd, from Degski's mixer
constexpr uint64_t kShingleFactor = 0xFF51AFD7ED558CCD;  // odd, from MurmurHash3's finalizer
constexpr uint64_t kStep = 0x9E3779B97F4A7C15;           // 2^64 / golden ratio, as in SplitMix64 (Steele et al. 2014)
constexpr uint32_t kValueMask = 0x7FFFFFFF;
constexpr uint32_t kEmpty = 0xFFFFFFFF;

constexpr int kMaxShingleWords = 64;
constexpr int64_t kSegmentBytes = 4096;
constexpr int kMaxSegmentWords = kSegmentBytes / 2 + 1;
constexpr int kMaxSegmentShingles = kMaxSegmentWords;

// Where the reading of a document stands.
struct ShingleReader {
  const uint8_t* text;
  int64_t size;
  const uint8_t* readable_end;  // of the memory that may be read, the text's end or later
  int shingle_words;
  int64_t at = 0;          // first byte that is not read yet
  int64_t open_begin = -1; // of the word that goes on at `at`, or -1
  int64_t num_words = 0;
  int num_recent = 0;
  uint64_t recent[kMaxShingleWords] = {};  // hashes of the last words, one less than a shingle has
};

// Read on for kSegmentBytes: the number of shingles whose hashes were written to `shingles` (kMaxSegmentShingles at
// most; 0 is possible anywhere). The document is read when at == size. An empty one needs no call.
using ReadShingles = int (*)(ShingleReader& reader, uint64_t* shingles);

// One round over `count` shingles: minima[bin] = min(minima[bin], value).
using FoldShingles = void (*)(const uint64_t* shingles, int64_t count, uint64_t round, uint32_t num_bins,
                              uint32_t* minima);

int read_shingles_scalar(ShingleReader& reader, uint64_t* shingles);
int read_shingles_avx2(ShingleReader& reader, uint64_t* shingles);
int read_shingles_avx512(ShingleReader& reader, uint64_t* shingles);

void fold_shingles_scalar(const uint64_t* shingles, int64_t count, uint64_t round, uint32_t num_bins, uint32_t* minima);
void fold_shingles_avx2(const uint64_t* shingles, int64_t count, uint64_t round, uint32_t num_bins, uint32_t* minima);
void fold_shingles_avx512(const uint64_t* shingles, int64_t count, uint64_t round, uint32_t num_bins, uint32_t* minima);

// SplitMix64's output function (Stafford's mix 13).
static inline uint64_t mix(uint64_t x) {
  x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9;
  x = (x ^ x >> 27) * 0x94D049BB133111EB;
  return x ^ x >> 31;
}

}  // namespace codex
