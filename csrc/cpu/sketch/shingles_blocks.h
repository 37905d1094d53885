// The reading of shingles.h over any instruction set. Included by one file for each; only <cstdint> and <cstring> may
// be included here, for inline functions of other headers would be compiled with that file's instructions.
#pragma once

#include <cstdint>
#include <cstring>

#include "shingles.h"

namespace codex {

static inline uint64_t little_endian(uint64_t number) {
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
  return __builtin_bswap64(number);
#else
  return number;
#endif
}

static inline uint64_t add_to_word(uint64_t hash, uint64_t bytes) {
  hash = (hash ^ bytes) * kWordFactor;
  return hash ^ hash >> 32;
}

// Reads no byte beyond `end`.
static inline uint64_t hash_word(const uint8_t* begin, const uint8_t* end) {
  uint64_t hash = 0;
  for (; begin < end; begin += 8) {
    uint64_t bytes = 0;
    std::memcpy(&bytes, begin, end - begin < 8 ? end - begin : 8);
    hash = add_to_word(hash, little_endian(bytes));
  }
  return hash;
}

namespace {  // a copy for each file that includes this

// What the sets without wide multiplication have in common.
struct OneAtATime {
  static void store(uint64_t bits, uint32_t base, uint32_t* to) {
    for (; bits != 0; bits &= bits - 1) *to++ = base + __builtin_ctzll(bits);
  }

  static void hash_words(const uint8_t* text, const uint32_t* begins, const uint32_t* ends, int count,
                         uint64_t* hashes) {
    for (int i = 0; i < count; ++i) {
      const uint8_t* at = text + begins[i];
      int64_t left = ends[i] - begins[i];
      uint64_t hash = 0;
      for (; left > 8; left -= 8, at += 8) hash = add_to_word(hash, load(at));
      hashes[i] = add_to_word(hash, load(at) & ~0ull >> (64 - 8 * left));
    }
  }

  static void hash_shingles(const uint64_t* words, int count, int shingle_words, uint64_t* shingles) {
    uint64_t leaving = 1, hash = 0;
    for (int i = 0; i < shingle_words; ++i) {
      hash = hash * kShingleFactor + words[i];
      leaving *= kShingleFactor;
    }
    shingles[0] = hash;
    for (int i = 1; i < count; ++i) {
      hash = hash * kShingleFactor + (words[i + shingle_words - 1] - words[i - 1] * leaving);
      shingles[i] = hash;
    }
  }

  static void fold(const uint64_t* shingles, int64_t count, uint64_t round, uint32_t num_bins, uint32_t* minima) {
    const uint64_t step = (round + 1) * kStep;
    for (int64_t i = 0; i < count; ++i) {
      const uint64_t mixed = mix(shingles[i] + step);
      uint32_t& minimum = minima[(mixed >> 32) * num_bins >> 32];
      const uint32_t value = static_cast<uint32_t>(mixed) & kValueMask;
      if (value < minimum) minimum = value;
    }
  }

 private:
  static uint64_t load(const uint8_t* text) {
    uint64_t bytes;
    std::memcpy(&bytes, text, 8);
    return little_endian(bytes);
  }
};

}  // namespace

// Isa: uint64_t words(const uint8_t text[64]), one bit a byte of a word; void store(bits, base, to), which writes where
// the bits are and may write 64 elements; hash_words, which may read 7 bytes beyond a word; hash_shingles.
template <class Isa>
class SegmentReader {
 public:
  static int read(ShingleReader& reader, uint64_t* shingles) {
    const int64_t left = reader.size - reader.at;
    const int length = static_cast<int>(left < kSegmentBytes ? left : kSegmentBytes);
    const int whole = (length + 63) / 64 * 64;
    uint8_t padded[kSegmentBytes + 8];
    const uint8_t* segment = reader.text + reader.at;
    if (reader.readable_end - segment < whole + 8) {
      std::memcpy(padded, segment, length);
      std::memset(padded + length, 0, whole + 8 - length);
      segment = padded;
    }

    uint32_t begins[kMaxSegmentWords + 64], ends[kMaxSegmentWords + 64];
    int num_begins = 0, num_ends = 0;
    uint64_t last = reader.open_begin >= 0;
    for (int at = 0; at < whole; at += 64) {
      uint64_t words = Isa::words(segment + at);
      if (length - at < 64) words &= (1ull << (length - at)) - 1;
      const uint64_t after = words << 1 | last;
      last = words >> 63;
      const uint64_t begin = words & ~after, end = ~words & after;
      Isa::store(begin, at, begins + num_begins);
      Isa::store(end, at, ends + num_ends);
      num_begins += __builtin_popcountll(begin);
      num_ends += __builtin_popcountll(end);
    }
    if (last != 0 && length == left) ends[num_ends++] = length;

    uint64_t words[kMaxShingleWords + kMaxSegmentWords + 8];
    std::memcpy(words, reader.recent, reader.num_recent * sizeof(uint64_t));
    int num_words = reader.num_recent, num_closed = 0;
    if (reader.open_begin >= 0 && num_ends > 0) {  // it may reach far back
      words[num_words++] = hash_word(reader.text + reader.open_begin, reader.text + reader.at + ends[0]);
      num_closed = 1;
      reader.open_begin = -1;
    }
    const int num_whole = num_ends - num_closed;
    Isa::hash_words(segment, begins, ends + num_closed, num_whole, words + num_words);
    num_words += num_whole;
    if (num_begins > num_whole) reader.open_begin = reader.at + begins[num_whole];
    reader.num_words += num_ends;
    reader.at += length;
    return shingle(reader, words, num_words, shingles);
  }

 private:
  static int shingle(ShingleReader& reader, const uint64_t* words, int num_words, uint64_t* shingles) {
    const int size = reader.shingle_words;
    if (num_words < size) {
      std::memcpy(reader.recent, words, num_words * sizeof(uint64_t));
      reader.num_recent = num_words;
      if (reader.at < reader.size || reader.num_words == 0 || reader.num_words >= size) return 0;
      shingles[0] = 0;  // the document has fewer words than a shingle
      for (int i = 0; i < num_words; ++i) shingles[0] = shingles[0] * kShingleFactor + words[i];
      return 1;
    }
    const int count = num_words - size + 1;
    Isa::hash_shingles(words, count, size, shingles);
    std::memcpy(reader.recent, words + count, (size - 1) * sizeof(uint64_t));
    reader.num_recent = size - 1;
    return count;
  }
};

}  // namespace codex
