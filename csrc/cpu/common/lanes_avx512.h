// AVX-512: sixteen floats a register. Included after target_avx512.h, which brings the intrinsics.
#pragma once

#include "lanes.h"

namespace codex {
namespace {

struct Avx512 {
  using Floats = __m512;
  static constexpr int64_t kWidth = 16;

  static Floats load(const float* from) { return _mm512_loadu_ps(from); }
  static Floats load(const Bfloat16* from) {
    const __m256i halves = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
  }
  static void store(float* to, Floats value) { _mm512_storeu_ps(to, value); }
  static void store(Bfloat16* to, Floats value) {
    const __m512i bits = _mm512_castps_si512(value);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    const __m512i rounded = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm512_cvtepi32_epi16(_mm512_srli_epi32(rounded, 16)));
  }
  static Floats all(float value) { return _mm512_set1_ps(value); }
  static Floats add(Floats a, Floats b) { return _mm512_add_ps(a, b); }
  static Floats subtract(Floats a, Floats b) { return _mm512_sub_ps(a, b); }
  static Floats multiply(Floats a, Floats b) { return _mm512_mul_ps(a, b); }
  static Floats divide(Floats a, Floats b) { return _mm512_div_ps(a, b); }
  static Floats multiply_add(Floats a, Floats b, Floats c) { return _mm512_fmadd_ps(a, b, c); }
  static Floats max(Floats a, Floats b) { return _mm512_max_ps(a, b); }
  static Floats min(Floats a, Floats b) { return _mm512_min_ps(a, b); }
  // The product is exact in here, and fp32's ln 2 within 2e-9.
  static Floats rest(Floats x, Floats exponent) { return _mm512_fnmadd_ps(exponent, all(0.693147182f), x); }
  static Floats round(Floats value) { return _mm512_roundscale_ps(value, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  static Floats scale(Floats value, Floats exponent) { return _mm512_scalef_ps(value, exponent); }
  static float sum(Floats value) { return _mm512_reduce_add_ps(value); }
  static float largest(Floats value) { return _mm512_reduce_max_ps(value); }
};

}  // namespace
}  // namespace codex
