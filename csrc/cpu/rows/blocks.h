// The rows' operations over a vector type (common/lanes.h).
// Everything is in an unnamed namespace: each instruction set's file has copies of its own.
#pragma once

#include <cstdint>

#include "../common/lanes.h"
#include "kernels.h"

namespace codex {
namespace {

// Whole vectors by `vectors(Lanes)`, the end of the row by `vectors(OneLane)`.
template <class Lanes, class Operation>
void over_row(int64_t size, const Operation& operation) {
  int64_t i = 0;
  for (; i + Lanes::kWidth <= size; i += Lanes::kWidth) operation(Lanes(), i);
  for (; i < size; ++i) operation(OneLane(), i);
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

// The sums of exp(element - largest) and of exp(scale * (element - largest)), reading the row once more for both.
template <class Lanes, class Stored>
void tempered_statistics(const Stored* row, int64_t size, float scale, float* largest, float* sum, float* tempered) {
  *largest = largest_of<Lanes>(row, size);
  typename Lanes::Floats plain = Lanes::all(0.0f), scaled = plain;
  int64_t i = 0;
  for (; i + Lanes::kWidth <= size; i += Lanes::kWidth) {
    const auto below = Lanes::subtract(Lanes::load(row + i), Lanes::all(*largest));
    plain = Lanes::add(plain, exponential_to_88<Lanes>(below));
    scaled = Lanes::add(scaled, exponential_to_88<Lanes>(Lanes::multiply(below, Lanes::all(scale))));
  }
  *sum = Lanes::sum(plain);
  *tempered = Lanes::sum(scaled);
  for (; i < size; ++i) {
    *sum += power<OneLane>(row + i, 1.0f, *largest);
    *tempered += power<OneLane>(row + i, scale, *largest);
  }
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
  return {statistics<Lanes, Stored>,    tempered_statistics<Lanes, Stored>, cross_entropy_gradient<Lanes, Stored>,
          cross_entropy<Lanes, Stored>, gelu<Lanes, Stored>,                gelu_gradient<Lanes, Stored>,
          softmax<Lanes, Stored>,       softmax_gradient<Lanes, Stored>};
}

}  // namespace
}  // namespace codex
