// The scan with AVX-512 (VBMI and VBMI2, Ice Lake and Zen 4 on): one register a block. Called only where there is one.
#if defined(__x86_64__)
#include "../common/target_avx512.h"

#include "../common/bytes_avx512.h"
#include "scan_blocks.h"

namespace codex {
namespace {

struct Avx512 {
  static Masks classify(const uint8_t* text) {
    const __m512i bytes = _mm512_loadu_si512(text);
    const __m512i lower = _mm512_or_si512(bytes, _mm512_set1_epi8(0x20));
    Masks masks;
    masks.beyond_ascii = _mm512_movepi8_mask(bytes);
    masks.letter = in_range(lower, 'a', 26);
    masks.number = in_range(bytes, '0', 10);
    masks.blank = _mm512_cmpeq_epi8_mask(bytes, _mm512_set1_epi8(' '));
    masks.apostrophe = _mm512_cmpeq_epi8_mask(bytes, _mm512_set1_epi8('\''));
    const uint64_t white = masks.blank | in_range(bytes, '\t', 5);
    masks.other = ~(masks.letter | masks.number | white | masks.beyond_ascii);
    return masks;
  }

  static void store(uint64_t bits, uint32_t base, uint32_t* to) {
    const __m512i offsets = _mm512_maskz_compress_epi8(bits, iota());
    const __m512i from = _mm512_set1_epi32(static_cast<int>(base));
    const int count = __builtin_popcountll(bits);
    put(to, from, _mm512_castsi512_si128(offsets));
    put(to + 16, from, _mm512_extracti32x4_epi32(offsets, 1));
    if (__builtin_expect(count <= 32, 1)) return;
    put(to + 32, from, _mm512_extracti32x4_epi32(offsets, 2));
    put(to + 48, from, _mm512_extracti32x4_epi32(offsets, 3));
  }
};

}  // namespace

int scan_pieces_avx512(Scan& scan, uint32_t* starts, int count, int limit) {
  return scan_blocks<Avx512>(scan, starts, count, limit);
}

}  // namespace codex

#include "../common/end_target.h"
#endif
