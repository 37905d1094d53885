// Byte pair encoding of a piece of up to kMaxShort bytes, over any instruction set: the least rank by a look over all of
// them, again and again. Included by one file for each; what may be included here, scan_blocks.h says.
#pragma once

#include <cstdint>

#include "merges.h"

namespace codex {

struct LeastRank {
  Token rank;
  int at;  // the leftmost one's
};

// Isa::kLanes ranks are looked at together; LeastRank least(const Token* ranks, int num_ranks) of a multiple of them.
template <class Isa>
inline void merge_by_looking(const Merges& merges, Unmerged& unmerged) {
  const uint8_t* const piece = unmerged.bytes;
  const int size = unmerged.size;
  // Byte i's place is i + 1, and a place without a token on either side spares every question whether there is one.
  // ranks[i]: what the parts that begin at place i and at after[i] merge into. Places that are gone have no rank.
  alignas(64) Token ranks[kMaxShort + 64];
  Token tokens[kMaxShort + 2];
  uint16_t before[kMaxShort + 2], after[kMaxShort + 2];
  const int num_ranks = (size + Isa::kLanes) / Isa::kLanes * Isa::kLanes;
  tokens[0] = tokens[size + 1] = kNoToken;
  for (int i = 1; i <= size; ++i) {
    tokens[i] = merges.of_byte[piece[i - 1]];
    before[i] = static_cast<uint16_t>(i - 1);
    after[i] = static_cast<uint16_t>(i + 1);
  }
  ranks[0] = kNoToken;
  for (int i = 1; i < size; ++i) ranks[i] = merges.of_two_bytes[piece[i - 1] << 8 | piece[i]];
  for (int i = size; i < num_ranks; ++i) ranks[i] = kNoToken;
  for (;;) {
    const LeastRank least = Isa::least(ranks, num_ranks);
    if (least.rank == kNoToken) break;
    const int left = least.at, right = after[left], next = after[right], previous = before[left];
    tokens[left] = least.rank;
    after[left] = static_cast<uint16_t>(next);
    before[next] = static_cast<uint16_t>(left);
    ranks[right] = kNoToken;
    ranks[left] = merged(merges, least.rank, tokens[next]);
    ranks[previous] = merged(merges, tokens[previous], least.rank);
  }
  unmerged.num_tokens = 0;
  for (int i = 1; i <= size; i = after[i]) unmerged.tokens[unmerged.num_tokens++] = tokens[i];
}

}  // namespace codex
