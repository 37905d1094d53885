// The part of CUDA C++ that csrc/kernels use, for g++: what a .cu file calls is here or is a compile error.
//
// Left out, because no kernel here needs them: tensor cores (mma, wgmma), cp.async, TMA, clusters, cooperative groups,
// textures, __activemask, dynamic parallelism, printf.
#pragma once

#include <cuda_bf16.h>  // NVIDIA's own: their host side does the roundings
#include <cuda_fp16.h>

#include <cmath>
#include <cstdint>
#include <cstring>

#include "launch.h"

using std::isfinite;  // CUDA has it without std::

#undef __global__
#undef __device__
#undef __host__
#undef __shared__
#undef __forceinline__
#undef __launch_bounds__
#define __global__ static
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
// `__shared__` itself would be a plain local variable to g++: an array is declared by CODEX_SHARED (device.h).
#define __shared__ codex_write_CODEX_SHARED_instead

#define threadIdx (codex::on_cpu::Block::current().thread_index())
#define blockIdx (codex::on_cpu::Block::current().index())
#define blockDim (codex::on_cpu::Block::current().shape())
#define gridDim (codex::on_cpu::Block::current().grid())

namespace codex::on_cpu {

template <class T>
T exchange_value(Meeting meeting, unsigned mask, T value, int source, int width, Place place) {
  static_assert(sizeof(T) <= 8);
  uint64_t given = 0;
  memcpy(&given, &value, sizeof(T));
  const uint64_t taken = Block::current().exchange(meeting, mask, given, source, width, place);
  memcpy(&value, &taken, sizeof(T));
  return value;
}

// The compiler's own names of the calling line: a fault tells where its thread waits.
#define CODEX_FROM_HERE const char *file = __builtin_FILE(), int line = __builtin_LINE()

}  // namespace codex::on_cpu

inline void __syncthreads(CODEX_FROM_HERE) { codex::on_cpu::Block::current().synchronise({file, line}); }

inline void __syncwarp(unsigned mask = ~0u, CODEX_FROM_HERE) {
  codex::on_cpu::Block::current().exchange(codex::on_cpu::Meeting::kWarp, mask, 0, 0, 32, {file, line});
}

template <class T>
T __shfl_sync(unsigned mask, T value, int lane, int width = 32, CODEX_FROM_HERE) {
  return codex::on_cpu::exchange_value(codex::on_cpu::Meeting::kShuffle, mask, value, lane, width, {file, line});
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32, CODEX_FROM_HERE) {
  return codex::on_cpu::exchange_value(codex::on_cpu::Meeting::kShuffleXor, mask, value, bits, width, {file, line});
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned by, int width = 32, CODEX_FROM_HERE) {
  return codex::on_cpu::exchange_value(codex::on_cpu::Meeting::kShuffleDown, mask, value, static_cast<int>(by), width,
                                       {file, line});
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned by, int width = 32, CODEX_FROM_HERE) {
  return codex::on_cpu::exchange_value(codex::on_cpu::Meeting::kShuffleUp, mask, value, static_cast<int>(by), width,
                                       {file, line});
}
inline unsigned __ballot_sync(unsigned mask, int vote, CODEX_FROM_HERE) {
  const uint64_t given = vote != 0;
  return static_cast<unsigned>(
      codex::on_cpu::Block::current().exchange(codex::on_cpu::Meeting::kBallot, mask, given, 0, 32, {file, line}));
}
inline int __any_sync(unsigned mask, int vote, CODEX_FROM_HERE) {
  return __ballot_sync(mask, vote, file, line) != 0;
}
inline int __all_sync(unsigned mask, int vote, CODEX_FROM_HERE) {
  return __ballot_sync(mask, vote, file, line) == mask;
}

// Atomics order nothing but their own variable, as in CUDA.
template <class T>
T atomicCAS(T* at, T expected, T desired) {
  __atomic_compare_exchange(at, &expected, &desired, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
  return expected;
}
template <class T, class Change>
T codex_atomic_change(T* at, Change change) {
  T before, after;
  __atomic_load(at, &before, __ATOMIC_RELAXED);
  do {
    after = change(before);
  } while (!__atomic_compare_exchange(at, &before, &after, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
  return before;
}
template <class T>
T atomicAdd(T* at, T value) {
  return codex_atomic_change(at, [=](T before) { return before + value; });
}
template <class T>
T atomicMax(T* at, T value) {
  return codex_atomic_change(at, [=](T before) { return before > value ? before : value; });
}
template <class T>
T atomicMin(T* at, T value) {
  return codex_atomic_change(at, [=](T before) { return before < value ? before : value; });
}
template <class T>
T atomicExch(T* at, T value) {
  return codex_atomic_change(at, [=](T) { return value; });
}
inline void __threadfence() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
