// The scan with AVX2, BMI and LZCNT: two registers of 32 bytes a block. Called only where the processor has them.
#if defined(__x86_64__)
#include "../common/target_avx2.h"

#include "scan_blocks.h"

namespace codex {
namespace {

struct Avx2 {
  // 0xFF where low <= byte <= high, all three below 128 (signed compares; bytes beyond ASCII are negative).
  static __m256i between(__m256i bytes, char low, char high) {
    const __m256i above = _mm256_cmpgt_epi8(bytes, _mm256_set1_epi8(low - 1));
    return _mm256_and_si256(above, _mm256_cmpgt_epi8(_mm256_set1_epi8(high + 1), bytes));
  }

  static uint64_t bits(__m256i mask) { return static_cast<uint32_t>(_mm256_movemask_epi8(mask)); }

  static Masks half(const uint8_t* text) {
    const __m256i bytes = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(text));
    const __m256i lower = _mm256_or_si256(bytes, _mm256_set1_epi8(0x20));
    const __m256i blank = _mm256_cmpeq_epi8(bytes, _mm256_set1_epi8(' '));
    const __m256i letter = between(lower, 'a', 'z');
    const __m256i number = between(bytes, '0', '9');
    const __m256i white = _mm256_or_si256(blank, between(bytes, '\t', '\r'));
    Masks masks;
    masks.letter = bits(letter);
    masks.number = bits(number);
    masks.blank = bits(blank);
    masks.apostrophe = bits(_mm256_cmpeq_epi8(bytes, _mm256_set1_epi8('\'')));
    masks.beyond_ascii = bits(bytes);
    masks.other = ~(masks.letter | masks.number | bits(white) | masks.beyond_ascii) & 0xFFFFFFFFull;
    return masks;
  }

  static Masks classify(const uint8_t* text) {
    const Masks low = half(text), high = half(text + 32);
    return {low.letter | high.letter << 32,         low.number | high.number << 32,
            low.other | high.other << 32,           low.blank | high.blank << 32,
            low.apostrophe | high.apostrophe << 32, low.beyond_ascii | high.beyond_ascii << 32};
  }

  static void store(uint64_t bits, uint32_t base, uint32_t* to) {
    const int count = __builtin_popcountll(bits);
    for (int done = 0; done < count; done += 8) {  // eight at a time: a branch for each one would cost more
      for (int i = 0; i < 8; ++i) {
        to[done + i] = base + static_cast<uint32_t>(_tzcnt_u64(bits));
        bits = _blsr_u64(bits);
      }
    }
  }
};

}  // namespace

int scan_pieces_avx2(Scan& scan, uint32_t* starts, int count, int limit) {
  return scan_blocks<Avx2>(scan, starts, count, limit);
}

}  // namespace codex

#include "../common/end_target.h"
#endif
