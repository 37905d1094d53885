// The scan with AVX-512 (VBMI and VBMI2, Ice Lake and Zen 4 on): one register a block. Called only where there is one.
#if defined(__x86_64__)
#include "../common/target_avx512.h"

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

 private:
  static uint64_t in_range(__m512i bytes, char first, char length) {
    const __m512i shifted = _mm512_sub_epi8(bytes, _mm512_set1_epi8(first));
    return _mm512_cmplt_epu8_mask(shifted, _mm512_set1_epi8(length));
  }

  static void put(uint32_t* to, __m512i from, __m128i offsets) {
    _mm512_storeu_si512(to, _mm512_add_epi32(from, _mm512_cvtepu8_epi32(offsets)));
  }

  static __m512i iota() {
    alignas(64) static constexpr uint8_t kIota[64] = {
        0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21,
        22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43,
        44, 45, 46, 47, 48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 62, 63};
    return _mm512_load_si512(kIota);
  }
};

}  // namespace

int scan_pieces_avx512(Scan& scan, uint32_t* starts, int count, int limit) {
  return scan_blocks<Avx512>(scan, starts, count, limit);
}

}  // namespace codex

#include "../common/end_target.h"
#endif
