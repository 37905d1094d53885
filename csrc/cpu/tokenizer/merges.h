// Which two tokens merge into a third: plain tables, for code of every instruction set. Vocabulary fills them.
#pragma once

#include <cstdint>

namespace codex {

using Token = uint16_t;

constexpr Token kNoToken = 0xFFFF;

struct Merge {
  uint32_t pair;  // left << 16 | right
  Token merged;
};

// A perfect hash table: every pair has a slot of its own, so that a look-up is one comparison and no search.
struct Merges {
  static constexpr int kBucketBits = 14;

  const Token* of_byte;           // [256]
  const Token* of_two_bytes;      // [first << 8 | second]: what they merge into
  const Merge* slots;             // kNoToken in both where no pair is
  const uint16_t* displacements;  // of each bucket of pairs
  uint64_t multiplier;
  uint32_t slot_mask;
};

static inline uint32_t bucket_of(uint64_t hash) { return static_cast<uint32_t>(hash >> (64 - Merges::kBucketBits)); }

static inline uint32_t slot_of(uint64_t hash, uint16_t displacement, uint32_t slot_mask) {
  return (static_cast<uint32_t>(hash >> 32) ^ displacement) & slot_mask;
}

// The token that two tokens merge into that byte pair encoding has brought side by side, or kNoToken.
static inline Token merged(const Merges& merges, Token left, Token right) {
  const uint32_t pair = static_cast<uint32_t>(left) << 16 | right;
  const uint64_t hash = pair * merges.multiplier;
  const Merge found = merges.slots[slot_of(hash, merges.displacements[bucket_of(hash)], merges.slot_mask)];
  return found.pair == pair ? found.merged : kNoToken;
}

constexpr int kMaxShort = 256;

// A piece to merge and, afterwards, what it became.
struct Unmerged {
  const uint8_t* bytes;
  int size;  // at most kMaxShort
  Token* tokens;  // room for `size`
  int num_tokens;
};

// Byte pair encoding of each piece: merges by rank, the leftmost of equal ones first. Several at once are faster than one
// after the other: the look-ups of one wait for memory while those of another do.
using MergeShort = void (*)(const Merges& merges, Unmerged* pieces, int num_pieces);

void merge_short_scalar(const Merges& merges, Unmerged* pieces, int num_pieces);
void merge_short_avx2(const Merges& merges, Unmerged* pieces, int num_pieces);

}  // namespace codex
