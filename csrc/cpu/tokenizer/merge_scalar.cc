// Merging in plain C++, for any machine.
#include "merge_short.h"

namespace codex {
namespace {

struct PlainCpp {
  static constexpr int kLanes = 8;

  static LeastRank least(const Token* ranks, int num_ranks) {
    uint32_t best = static_cast<uint32_t>(kNoToken) << 16;  // rank and place in one number: the leftmost of equal ranks
    for (int i = 0; i < num_ranks; ++i) {
      const uint32_t candidate = static_cast<uint32_t>(ranks[i]) << 16 | i;
      best = candidate < best ? candidate : best;
    }
    return {static_cast<Token>(best >> 16), static_cast<int>(best & 0xFFFF)};
  }
};

}  // namespace

void merge_short_scalar(const Merges& merges, Unmerged* pieces, int num_pieces) {
  for (int i = 0; i < num_pieces; ++i) merge_by_looking<PlainCpp>(merges, pieces[i]);
}

}  // namespace codex
