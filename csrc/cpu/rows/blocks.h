// The rows' operations over a vector type: Lanes has load, store, the arithmetic below and the sums over its lanes.
// Everything is in an unnamed namespace: each instruction set's file has copies of its own.
#pragma once

#include <cstdint>
#include <cstring>

#include "kernels.h"

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

// Whole vectors by `vectors(Lanes)`, the end of the row by `vectors(OneLane)`.
template <class Lanes, class Operation>
void over_row(int64_t size, const Operation& operation) {
  int64_t i = 0;
  for (; i + Lanes::kWidth <= size; i += Lanes::kWidth) operation(Lanes(), i);
  for (; i < size; ++i) operation(OneLane(), i);
}

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

// The next row's elements come from memory while this one's are computed; nothing is read if there is none.
template <class Stored>
void prefetch_row_after(const Stored* element, int64_t size) {
  __builtin_prefetch(element + size, 0, 2);
}

// exp(scale * (element - largest)) of a vector, and their sum over a row.
template <class L, class Stored>
typename L::Floats power(const Stored* from, float scale, float largest) {
  const auto below = L::subtract(L::load(from), L::all(largest));
  return exponential_to_88<L>(L::multiply(below, L::all(scale)));
}

template <class Lanes, class Stored>
void statistics(const Stored* row, int64_t size, float scale, float* largest, float* sum) {
  *largest = largest_of<Lanes>(row, size);
  typename Lanes::Floats total = Lanes::all(0.0f), other = total;
  int64_t i = 0;
  for (; i + 2 * Lanes::kWidth <= size; i += 2 * Lanes::kWidth) {
    prefetch_row_after(row + i, size);
    prefetch_row_after(row + i + Lanes::kWidth, size);
    total = Lanes::add(total, power<Lanes>(row + i, scale, *largest));
    other = Lanes::add(other, power<Lanes>(row + i + Lanes::kWidth, scale, *largest));
  }
  float found = Lanes::sum(Lanes::add(total, other));
  for (; i < size; ++i) found += power<OneLane>(row + i, scale, *largest);
  *sum = found;
}

template <class Lanes, class Stored>
void cross_entropy_gradient(Stored* row, int64_t size, int64_t label, float log_sum, float gradient) {
  const bool here = label >= 0 && label < size;
  const float target = here ? OneLane::load(row + label) : 0.0f;
  over_row<Lanes>(size, [&](auto lanes, int64_t i) {
    using L = decltype(lanes);
    const auto probability = exponential<L>(L::subtract(L::load(row + i), L::all(log_sum)));
    L::store(row + i, L::multiply(probability, L::all(gradient)));
  });
  if (here) OneLane::store(row + label, (exponential<OneLane>(target - log_sum) - 1.0f) * gradient);
}

// Both passes at once: the row and its exponentials are in the cache when they are read again.
template <class Lanes, class Stored>
void cross_entropy(Stored* row, int64_t size, int64_t label, float gradient, float* powers, RowPieces pieces) {
  const float largest = largest_of<Lanes>(static_cast<const Stored*>(row), size);
  const bool here = label >= 0 && label < size;
  const float target = here ? OneLane::load(row + label) : 0.0f;
  typename Lanes::Floats total = Lanes::all(0.0f);
  int64_t i = 0;
  for (; i + Lanes::kWidth <= size; i += Lanes::kWidth) {
    prefetch_row_after(row + i, size);
    const auto found = power<Lanes>(static_cast<const Stored*>(row + i), 1.0f, largest);
    Lanes::store(powers + i, found);
    total = Lanes::add(total, found);
  }
  float sum = Lanes::sum(total);
  for (; i < size; ++i) sum += powers[i] = power<OneLane>(static_cast<const Stored*>(row + i), 1.0f, largest);
  over_row<Lanes>(size, [&](auto lanes, int64_t j) {
    using L = decltype(lanes);
    L::store(row + j, L::multiply(L::load(static_cast<const float*>(powers + j)), L::all(gradient / sum)));
  });
  if (here) OneLane::store(row + label, (exponential<OneLane>(target - largest) / sum - 1.0f) * gradient);
  *pieces.largest = largest;
  *pieces.sum = sum;
  *pieces.at_label = target;
}

// gelu(x) = x * sigmoid(2u), u = sqrt(2 / pi) * (x + 0.044715 x^3): tanh without its own series.
constexpr float kTwiceRoot = 1.5957691216f;  // 2 * sqrt(2 / pi)
constexpr float kCubic = 0.044715f;

template <class L>
typename L::Floats gate(typename L::Floats x, typename L::Floats square) {
  const auto inner = L::multiply_add(square, L::all(kCubic), L::all(1.0f));
  const auto minus_2u = L::multiply(L::multiply(x, inner), L::all(-kTwiceRoot));
  return L::divide(L::all(1.0f), L::add(L::all(1.0f), exponential<L>(minus_2u)));
}

template <class Lanes, class Stored>
void gelu(const Stored* in, int64_t size, Stored* out) {
  over_row<Lanes>(size, [&](auto lanes, int64_t i) {
    using L = decltype(lanes);
    const auto x = L::load(in + i);
    L::store(out + i, L::multiply(x, gate<L>(x, L::multiply(x, x))));
  });
}

template <class Lanes, class Stored>
void gelu_gradient(const Stored* in, const Stored* out_gradient, int64_t size, Stored* in_gradient) {
  over_row<Lanes>(size, [&](auto lanes, int64_t i) {
    using L = decltype(lanes);
    const auto x = L::load(in + i), square = L::multiply(x, x), open = gate<L>(x, square);
    const auto inner = L::multiply_add(square, L::all(3 * kCubic * kTwiceRoot), L::all(kTwiceRoot));
    const auto slope = L::multiply(L::multiply(x, inner), L::subtract(L::all(1.0f), open));
    const auto derivative = L::multiply_add(open, slope, open);
    L::store(in_gradient + i, L::multiply(L::load(out_gradient + i), derivative));
  });
}

template <class Lanes, class Stored>
void softmax(Stored* row, int64_t size, float scale) {
  float largest, sum;
  statistics<Lanes>(static_cast<const Stored*>(row), size, scale, &largest, &sum);
  over_row<Lanes>(size, [&](auto lanes, int64_t i) {
    using L = decltype(lanes);
    L::store(row + i, L::multiply(power<L>(static_cast<const Stored*>(row + i), scale, largest), L::all(1.0f / sum)));
  });
}

template <class Lanes, class Stored>
void softmax_gradient(const Stored* probabilities, Stored* gradient, int64_t size, float scale) {
  typename Lanes::Floats total = Lanes::all(0.0f);
  int64_t i = 0;
  for (; i + Lanes::kWidth <= size; i += Lanes::kWidth) {
    total = Lanes::multiply_add(Lanes::load(probabilities + i), Lanes::load(gradient + i), total);
  }
  float mean = Lanes::sum(total);
  for (; i < size; ++i) mean += OneLane::load(probabilities + i) * OneLane::load(gradient + i);
  over_row<Lanes>(size, [&](auto lanes, int64_t j) {
    using L = decltype(lanes);
    const auto away = L::subtract(L::load(gradient + j), L::all(mean));
    L::store(gradient + j, L::multiply(L::multiply(L::load(probabilities + j), away), L::all(scale)));
  });
}

template <class Lanes, class Stored>
constexpr RowKernels<Stored> row_kernels() {
  return {statistics<Lanes, Stored>,    cross_entropy_gradient<Lanes, Stored>, cross_entropy<Lanes, Stored>, gelu<Lanes, Stored>,
          gelu_gradient<Lanes, Stored>, softmax<Lanes, Stored>,                softmax_gradient<Lanes, Stored>};
}

}  // namespace
}  // namespace codex
