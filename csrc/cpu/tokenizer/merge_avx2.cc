// Merging with AVX2: the ranks of up to 32 bytes stay in two registers, and several pieces are merged in turn. Called only
// where the processor has it.
#if defined(__x86_64__)
#include "../common/target_avx2.h"

#include <cstring>

#include "merge_short.h"

namespace codex {
namespace {

__m128i low_half(__m256i ranks) { return _mm256_castsi256_si128(ranks); }
__m128i high_half(__m256i ranks) { return _mm256_extracti128_si256(ranks, 1); }

struct Avx2 {
  static constexpr int kLanes = 16;

  static LeastRank least(const Token* ranks, int num_ranks) {
    const __m256i* const blocks = reinterpret_cast<const __m256i*>(ranks);
    __m256i all = _mm256_load_si256(blocks);
    for (int i = 1; i < num_ranks / kLanes; ++i) all = _mm256_min_epu16(all, _mm256_load_si256(blocks + i));
    const __m128i either = _mm_min_epu16(low_half(all), high_half(all));
    const Token rank = static_cast<Token>(_mm_cvtsi128_si32(_mm_minpos_epu16(either)));
    const __m256i wanted = _mm256_set1_epi16(static_cast<int16_t>(rank));
    for (int i = 0;; ++i) {
      const __m256i same = _mm256_cmpeq_epi16(_mm256_load_si256(blocks + i), wanted);
      const uint32_t bits = static_cast<uint32_t>(_mm256_movemask_epi8(same));
      if (bits != 0) return {rank, i * kLanes + __builtin_ctz(bits) / 2};
    }
  }
};

// Ranks of 16 places a register.
template <int kRegisters>
class Ranks {
 public:
  static constexpr int kPlaces = 16 * kRegisters;

  // ranks: of all places; those from `size` on are none.
  void load(const Token* ranks, int size) {
    for (int i = 0; i < kRegisters; ++i) {
      const __m256i all = _mm256_load_si256(reinterpret_cast<const __m256i*>(ranks) + i);
      const __m256i beyond = _mm256_cmpgt_epi16(places(i), _mm256_set1_epi16(static_cast<int16_t>(size - 1)));
      ranks_[i] = _mm256_or_si256(all, beyond);
    }
  }

  LeastRank least() const {
    uint32_t found = kNoToken;
    for (int i = 0; i < kRegisters; ++i) {
      found = lesser(found, first_least(low_half(ranks_[i]), 16 * i));
      found = lesser(found, first_least(high_half(ranks_[i]), 16 * i + 8));
    }
    return {static_cast<Token>(found), static_cast<int>(found >> 16)};
  }

  void set(int place, Token rank) {
    const __m256i wanted = _mm256_set1_epi16(static_cast<int16_t>(place));
    const __m256i value = _mm256_set1_epi16(static_cast<int16_t>(rank));
    for (int i = 0; i < kRegisters; ++i) {
      ranks_[i] = _mm256_blendv_epi8(ranks_[i], value, _mm256_cmpeq_epi16(places(i), wanted));
    }
  }

 private:
  static __m256i places(int i) {
    const __m256i first = _mm256_setr_epi16(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    return _mm256_add_epi16(first, _mm256_set1_epi16(static_cast<int16_t>(16 * i)));
  }

  // The least of eight ranks in the low half of a number, its place, the leftmost, in the high one.
  static uint32_t first_least(__m128i ranks, uint32_t first_place) {
    return static_cast<uint32_t>(_mm_cvtsi128_si32(_mm_minpos_epu16(ranks))) + (first_place << 16);
  }

  static uint32_t lesser(uint32_t left, uint32_t right) { return (right & 0xFFFF) < (left & 0xFFFF) ? right : left; }

  __m256i ranks_[kRegisters];
};

// As merge_by_looking, a step at a time and without a branch on what the piece holds, for as many bytes as there are
// places: place 0, before the first byte, never has a rank.
template <int kRegisters>
class StepwiseMerge {
 public:
  static constexpr int kMaxSize = Ranks<kRegisters>::kPlaces;

  void begin(const Merges& merges, Unmerged& piece) {
    piece_ = &piece;
    uint8_t bytes[kMaxSize] = {};
    std::memcpy(bytes, piece.bytes, piece.size);
    alignas(32) Token first_ranks[kMaxSize];
    tokens_[0] = first_ranks[0] = kNoToken;
    for (int i = 0; i < kMaxSize; ++i) tokens_[i + 1] = merges.of_byte[bytes[i]];
    for (int i = 1; i < kMaxSize; ++i) first_ranks[i] = merges.of_two_bytes[bytes[i - 1] << 8 | bytes[i]];
    tokens_[piece.size + 1] = kNoToken;
    ranks_.load(first_ranks, piece.size);
    places_ = (4ull << piece.size) - 1;
  }

  // One merge; false: there was none left, and the tokens are written.
  bool step(const Merges& merges) {
    const LeastRank least = ranks_.least();
    if (least.rank == kNoToken) {
      end();
      return false;
    }
    const int left = least.at;
    const uint64_t behind = places_ & (~1ull << left), rest = _blsr_u64(behind);
    const int right = static_cast<int>(_tzcnt_u64(behind)), next = static_cast<int>(_tzcnt_u64(rest));
    const int previous = 63 - static_cast<int>(_lzcnt_u64(places_ & ((1ull << left) - 1)));
    places_ ^= behind ^ rest;
    tokens_[left] = least.rank;
    ranks_.set(right, kNoToken);
    ranks_.set(left, merged(merges, least.rank, tokens_[next]));
    ranks_.set(previous, merged(merges, tokens_[previous], least.rank));
    return true;
  }

 private:
  void end() {
    int count = 0;
    for (uint64_t left = places_ & ((2ull << piece_->size) - 2); left != 0; left = _blsr_u64(left)) {
      piece_->tokens[count++] = tokens_[_tzcnt_u64(left)];
    }
    piece_->num_tokens = count;
  }

  Ranks<kRegisters> ranks_;
  uint64_t places_;  // where a part begins: from before the first byte to behind the last one
  Token tokens_[kMaxSize + 2];
  Unmerged* piece_;
};

// Merges the pieces of more than min_size bytes that a StepwiseMerge can hold, a step of each in turn.
template <int kRegisters>
void merge_in_turn(const Merges& merges, Unmerged* pieces, int num_pieces, int min_size) {
  constexpr int kTogether = 8;
  StepwiseMerge<kRegisters> running[kTogether];
  int num_running = 0;
  Unmerged* waiting = pieces;
  Unmerged* const last = pieces + num_pieces;
  const auto begin_next = [&](StepwiseMerge<kRegisters>& merge) {
    while (waiting < last && (waiting->size <= min_size || waiting->size > merge.kMaxSize)) ++waiting;
    if (waiting == last) return false;
    merge.begin(merges, *waiting++);
    return true;
  };
  while (num_running < kTogether && begin_next(running[num_running])) ++num_running;
  while (num_running > 0) {
    for (int i = 0; i < num_running;) {
      if (running[i].step(merges) || begin_next(running[i])) {
        ++i;
      } else {
        running[i] = running[--num_running];
      }
    }
  }
}

}  // namespace

void merge_short_avx2(const Merges& merges, Unmerged* pieces, int num_pieces) {
  merge_in_turn<1>(merges, pieces, num_pieces, 0);
  merge_in_turn<2>(merges, pieces, num_pieces, StepwiseMerge<1>::kMaxSize);
  for (int i = 0; i < num_pieces; ++i) {
    if (pieces[i].size > StepwiseMerge<2>::kMaxSize) merge_by_looking<Avx2>(merges, pieces[i]);
  }
}

}  // namespace codex

#include "../common/end_target.h"
#endif
