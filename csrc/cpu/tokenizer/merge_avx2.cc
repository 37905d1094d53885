// Merging with AVX2: the ranks of up to 16 bytes stay in one register. Called only where the processor has it.
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

// Ranks of the 16 places of merge_in_register, where place 0 never has one.
class Ranks {
 public:
  Ranks(const Token* ranks, int size) {
    const __m256i all = _mm256_load_si256(reinterpret_cast<const __m256i*>(ranks));
    const __m256i beyond = _mm256_cmpgt_epi16(places(), _mm256_set1_epi16(static_cast<int16_t>(size - 1)));
    ranks_ = _mm256_or_si256(all, beyond);
  }

  LeastRank least() const {
    const uint32_t low = static_cast<uint32_t>(_mm_cvtsi128_si32(_mm_minpos_epu16(low_half(ranks_))));
    const uint32_t high = static_cast<uint32_t>(_mm_cvtsi128_si32(_mm_minpos_epu16(high_half(ranks_))));
    const bool is_high = (high & 0xFFFF) < (low & 0xFFFF);
    const uint32_t found = is_high ? high + (8u << 16) : low;
    return {static_cast<Token>(found), static_cast<int>(found >> 16)};
  }

  void set(int place, Token rank) {
    const __m256i here = _mm256_cmpeq_epi16(places(), _mm256_set1_epi16(static_cast<int16_t>(place)));
    ranks_ = _mm256_blendv_epi8(ranks_, _mm256_set1_epi16(static_cast<int16_t>(rank)), here);
  }

 private:
  static __m256i places() { return _mm256_setr_epi16(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15); }

  __m256i ranks_;
};

// As merge_by_looking, for up to 16 bytes: nothing but the end depends on what the piece holds.
int merge_in_register(const Merges& merges, const uint8_t* piece, int size, Token* out) {
  uint8_t bytes[16] = {};
  std::memcpy(bytes, piece, size);
  alignas(32) Token first_ranks[16];
  Token tokens[18];
  tokens[0] = first_ranks[0] = kNoToken;
  for (int i = 0; i < 16; ++i) tokens[i + 1] = merges.of_byte[bytes[i]];
  for (int i = 1; i < 16; ++i) first_ranks[i] = merges.of_two_bytes[bytes[i - 1] << 8 | bytes[i]];
  tokens[size + 1] = kNoToken;
  Ranks ranks(first_ranks, size);
  uint32_t places = (4u << size) - 1;  // where a part begins: from before the first byte to behind the last one
  for (;;) {
    const LeastRank least = ranks.least();
    if (least.rank == kNoToken) break;
    const int left = least.at;
    const uint32_t behind = places & (~1u << left), rest = _blsr_u32(behind);
    const int right = static_cast<int>(_tzcnt_u32(behind)), next = static_cast<int>(_tzcnt_u32(rest));
    const int previous = 31 - static_cast<int>(_lzcnt_u32(places & ((1u << left) - 1)));
    places ^= behind ^ rest;
    tokens[left] = least.rank;
    ranks.set(right, kNoToken);
    ranks.set(left, merged(merges, least.rank, tokens[next]));
    ranks.set(previous, merged(merges, tokens[previous], least.rank));
  }
  int count = 0;
  for (uint32_t left = places & ((2u << size) - 2); left != 0; left = _blsr_u32(left)) {
    out[count++] = tokens[_tzcnt_u32(left)];
  }
  return count;
}

}  // namespace

int merge_short_avx2(const Merges& merges, const uint8_t* piece, int size, Token* out) {
  if (size <= 16) return merge_in_register(merges, piece, size, out);
  return merge_by_looking<Avx2>(merges, piece, size, out);
}

}  // namespace codex

#include "../common/end_target.h"
#endif
