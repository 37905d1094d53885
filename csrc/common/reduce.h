// Sums and maxima over a warp and over a block, always in the same order.
#pragma once

#include "device.h"

namespace codex {

// Over the lanes of `mask`, of which there are kLanes, a power of two, the lowest ones. Every lane gets the sum.
template <int kLanes = kWarp, class T>
__device__ __forceinline__ T warp_sum(T value, unsigned mask = kAllLanes) {
#pragma unroll
  for (int bits = kLanes / 2; bits > 0; bits /= 2) value += __shfl_xor_sync(mask, value, bits);
  return value;
}

template <int kLanes = kWarp>
__device__ __forceinline__ float warp_max(float value, unsigned mask = kAllLanes) {
#pragma unroll
  for (int bits = kLanes / 2; bits > 0; bits /= 2) value = fmaxf(value, __shfl_xor_sync(mask, value, bits));
  return value;
}

// Over a block of kThreads. Every thread gets the sum. May be called again at once: `sums` [kThreads / 32] in shared
// memory is read between two barriers.
template <int kThreads, class T>
__device__ __forceinline__ T block_sum(T value, T* sums) {
  constexpr int kWarps = kThreads / kWarp;
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  value = warp_sum(value);
  if (lane == 0) sums[warp] = value;
  __syncthreads();
  T total = sums[0];
#pragma unroll
  for (int other = 1; other < kWarps; ++other) total += sums[other];
  __syncthreads();
  return total;
}

}  // namespace codex
