// Vectors of floats by one interface, so that an operation is written once: Lanes has load and store of both elements,
// the arithmetic below, and the sum and the largest over its lanes. Here is the vector of one; lanes_avx2.h and
// lanes_avx512.h have the others. Everything is in an unnamed namespace: each instruction set's file has copies of its own.
#pragma once

#include <cstdint>
#include <cstring>

#include "elements.h"

namespace codex {
namespace {

// One lane: the ends of rows, and processors without vectors.
struct OneLane {
  using Floats = float;
  static constexpr int64_t kWidth = 1;

  static float load(const float* from) { return *from; }
  static float load(const Bfloat16* from) {
    const uint32_t bits = static_cast<uint32_t>(*from) << 16;
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
  }
  static void store(float* to, float value) { *to = value; }
  // To nearest, ties to even. A NaN of arithmetic (0x7fc00000) stays one.
  static void store(Bfloat16* to, float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    *to = static_cast<Bfloat16>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
  }
  static float all(float value) { return value; }
  static float add(float a, float b) { return a + b; }
  static float subtract(float a, float b) { return a - b; }
  static float multiply(float a, float b) { return a * b; }
  static float divide(float a, float b) { return a / b; }
  static float multiply_add(float a, float b, float c) { return a * b + c; }
  // The second where one is NaN, as x86 has it.
  static float max(float a, float b) { return a > b ? a : b; }
  static float min(float a, float b) { return a < b ? a : b; }
  // x - exponent * ln 2: in two parts, of which the first times a whole exponent is exact.
  static float rest(float x, float exponent) { return (x - exponent * 0.693359375f) + exponent * 2.12194440e-4f; }
  static float round(float value) {
    constexpr float kShift = 12582912.0f;  // 1.5 * 2^23: no bits for a fraction are left
    return (value + kShift) - kShift;
  }
  // value * 2^exponent, for whole exponents from -126 to 127.
  static float scale(float value, float exponent) {
    const uint32_t bits = static_cast<uint32_t>(static_cast<int32_t>(exponent) + 127) << 23;
    float power;
    std::memcpy(&power, &bits, sizeof power);
    return value * power;
  }
  static float sum(float value) { return value; }
  static float largest(float value) { return value; }
};

// e^x within 2e-7 of its value, from 1e-38 (below -87); for x up to 88.
// The series is the fifth degree's least relative error (9e-8) from -ln 2 / 2 to ln 2 / 2, and 1 at 0.
template <class Lanes>
typename Lanes::Floats exponential_to_88(typename Lanes::Floats x) {
  x = Lanes::max(Lanes::all(-87.0f), x);
  const auto exponent = Lanes::round(Lanes::multiply(x, Lanes::all(1.44269504f)));
  const auto rest = Lanes::rest(x, exponent);
  constexpr float kFactors[] = {0.04189793f, 0.16667636f, 0.4999915f, 0.9999997f, 1.0f};
  auto series = Lanes::all(0.008290315f);
  for (const float factor : kFactors) series = Lanes::multiply_add(series, rest, Lanes::all(factor));
  return Lanes::scale(series, exponent);
}

// The same for any x; 2e38 above 88.
template <class Lanes>
typename Lanes::Floats exponential(typename Lanes::Floats x) {
  return exponential_to_88<Lanes>(Lanes::min(Lanes::all(88.0f), x));
}

// Of a row; -inf of none.
template <class Lanes, class Stored>
float largest_of(const Stored* row, int64_t size) {
  const float least = -__builtin_inff();
  typename Lanes::Floats largest = Lanes::all(least), other = largest;
  int64_t i = 0;
  for (; i + 2 * Lanes::kWidth <= size; i += 2 * Lanes::kWidth) {
    largest = Lanes::max(largest, Lanes::load(row + i));
    other = Lanes::max(other, Lanes::load(row + i + Lanes::kWidth));
  }
  float found = Lanes::largest(Lanes::max(largest, other));
  for (; i < size; ++i) found = OneLane::max(found, OneLane::load(row + i));
  return found;
}

}  // namespace
}  // namespace codex
