// The largest of some numbers and the sum of exp(number - largest), in one pass over them (Milakov and Gimelshein,
// arXiv 1805.02867): what a softmax and a cross entropy need of a row.
#pragma once

#include "device.h"

namespace codex {

struct Exponentials {
  float largest = -INFINITY;
  float sum = 0.0f;

  // What numbers are reduced by: 0 where all are -inf, so that NaN among them is not lost.
  static __device__ __forceinline__ float base(float largest) { return largest == -INFINITY ? 0.0f : largest; }

  template <int W>
  __device__ __forceinline__ void add(const float (&numbers)[W]) {
    float found = largest;
#pragma unroll
    for (int k = 0; k < W; ++k) found = fmaxf(found, numbers[k]);
    const float by = base(found);
    if (found != largest) sum *= fast_exp(largest - by);
    largest = found;
#pragma unroll
    for (int k = 0; k < W; ++k) sum += fast_exp(numbers[k] - by);
  }
  __device__ __forceinline__ void add(const Exponentials& other) {
    const float found = fmaxf(largest, other.largest), by = base(found);
    sum = sum * fast_exp(largest - by) + other.sum * fast_exp(other.largest - by);
    largest = found;
  }
  // Joins the kLanes lowest lanes, which `mask` names; each has the whole afterwards.
  template <int kLanes>
  __device__ __forceinline__ void join_lanes(unsigned mask) {
#pragma unroll
    for (int bits = kLanes / 2; bits > 0; bits /= 2) {
      Exponentials other;
      other.largest = __shfl_xor_sync(mask, largest, bits);
      other.sum = __shfl_xor_sync(mask, sum, bits);
      add(other);
    }
  }
};

}  // namespace codex
