// What several AVX-512 files do with 64 bytes. To be included after target_avx512.h.
#pragma once

#include <cstdint>

namespace codex {

// One bit for each byte of first, first + 1, ... first + length - 1.
static inline uint64_t in_range(__m512i bytes, char first, char length) {
  const __m512i shifted = _mm512_sub_epi8(bytes, _mm512_set1_epi8(first));
  return _mm512_cmplt_epu8_mask(shifted, _mm512_set1_epi8(length));
}

// 0, 1, ... 63.
static inline __m512i iota() {
  alignas(64) static constexpr uint8_t kIota[64] = {
      0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21,
      22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43,
      44, 45, 46, 47, 48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 62, 63};
  return _mm512_load_si512(kIota);
}

// Sixteen offsets from `from`, as 32-bit numbers.
static inline void put(uint32_t* to, __m512i from, __m128i offsets) {
  _mm512_storeu_si512(to, _mm512_add_epi32(from, _mm512_cvtepu8_epi32(offsets)));
}

}  // namespace codex
