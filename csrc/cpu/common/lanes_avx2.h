// AVX2: eight floats a register. Included after target_avx2.h, which brings the intrinsics.
#pragma once

#include "lanes.h"

namespace codex {
namespace {

struct Avx2 {
  using Floats = __m256;
  static constexpr int64_t kWidth = 8;

  static Floats load(const float* from) { return _mm256_loadu_ps(from); }
  static Floats load(const Bfloat16* from) {
    const __m128i halves = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16));
  }
  static void store(float* to, Floats value) { _mm256_storeu_ps(to, value); }
  static void store(Bfloat16* to, Floats value) {
    const __m256i bits = _mm256_castps_si256(value);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    const __m256i rounded = _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff)), odd);
    const __m256i halves = _mm256_srli_epi32(rounded, 16);
    const __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(halves, halves), 0x08);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm256_castsi256_si128(packed));
  }
  static Floats all(float value) { return _mm256_set1_ps(value); }
  static Floats add(Floats a, Floats b) { return _mm256_add_ps(a, b); }
  static Floats subtract(Floats a, Floats b) { return _mm256_sub_ps(a, b); }
  static Floats multiply(Floats a, Floats b) { return _mm256_mul_ps(a, b); }
  static Floats divide(Floats a, Floats b) { return _mm256_div_ps(a, b); }
  static Floats multiply_add(Floats a, Floats b, Floats c) { return add(multiply(a, b), c); }
  static Floats max(Floats a, Floats b) { return _mm256_max_ps(a, b); }
  static Floats min(Floats a, Floats b) { return _mm256_min_ps(a, b); }
  static Floats rest(Floats x, Floats exponent) {
    return multiply_add(exponent, all(2.12194440e-4f), multiply_add(exponent, all(-0.693359375f), x));
  }
  static Floats round(Floats value) { return _mm256_round_ps(value, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  static Floats scale(Floats value, Floats exponent) {
    const __m256i biased = _mm256_add_epi32(_mm256_cvtps_epi32(exponent), _mm256_set1_epi32(127));
    return multiply(value, _mm256_castsi256_ps(_mm256_slli_epi32(biased, 23)));
  }
  static float sum(Floats value) {
    float lanes[8], total = 0.0f;
    store(lanes, value);
    for (const float lane : lanes) total += lane;
    return total;
  }
  static float largest(Floats value) {
    float lanes[8], found = -__builtin_inff();
    store(lanes, value);
    for (const float lane : lanes) found = OneLane::max(found, lane);
    return found;
  }
};

}  // namespace
}  // namespace codex
