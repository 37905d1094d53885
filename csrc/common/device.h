// What every kernel starts from: CUDA itself under nvcc, its execution on a CPU under g++ (-DCODEX_ON_CPU, for tests);
// the element types and their way into fp32 registers and back, several at a time.
#pragma once

#include <stdint.h>

#if defined(CODEX_ON_CPU)
#include "on_cpu/cuda.h"
// An array that the block's threads share, and the launch's dynamic shared memory.
#define CODEX_SHARED(type, name, count)                                                              \
  static const char name##_site = 0;                                                                 \
  type* const name = static_cast<type*>(codex::on_cpu::Block::current().shared_memory().array( \
      #name, &name##_site, sizeof(type) * (count)))
#define CODEX_DYNAMIC_SHARED(type, name) \
  type* const name = static_cast<type*>(codex::on_cpu::Block::current().shared_memory().dynamic())
#else
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#define CODEX_SHARED(type, name, count) __shared__ type name[count]
#define CODEX_DYNAMIC_SHARED(type, name)                             \
  extern __shared__ __align__(16) unsigned char codex_dynamic_[]; \
  type* const name = reinterpret_cast<type*>(codex_dynamic_)
#endif

namespace codex {

using bfloat16 = __nv_bfloat16;
using float16 = __half;

constexpr int kWarp = 32;
constexpr unsigned kAllLanes = 0xffffffffu;
constexpr int kVectorBytes = 16;  // the widest load of a thread

__device__ __forceinline__ float to_float(float value) { return value; }
__device__ __forceinline__ float to_float(bfloat16 value) { return __bfloat162float(value); }
__device__ __forceinline__ float to_float(float16 value) { return __half2float(value); }

// To the nearest, ties to even.
__device__ __forceinline__ void round_to(float value, float& to) { to = value; }
__device__ __forceinline__ void round_to(float value, bfloat16& to) { to = __float2bfloat16_rn(value); }
__device__ __forceinline__ void round_to(float value, float16& to) { to = __float2half_rn(value); }

// exp by the GPU's special function unit: 2 ulp + 1.16 |x| ulp, CUDA C++ Programming Guide, "Intrinsic Functions".
__device__ __forceinline__ float fast_exp(float value) {
#if defined(CODEX_ON_CPU)
  return expf(value);
#else
  return __expf(value);
#endif
}

// A product that is rounded by itself, where nvcc would fuse it with an addition.
__device__ __forceinline__ float rounded_product(float one, float other) {
#if defined(CODEX_ON_CPU)
  return one * other;
#else
  return __fmul_rn(one, other);
#endif
}

// W neighbours in memory, moved by one instruction: the address must be a multiple of their size.
template <class T, int W>
struct alignas(sizeof(T) * W) Vector {
  T at[W];
};

template <int W, class T>
__device__ __forceinline__ void load(const T* from, float (&floats)[W]) {
  const Vector<T, W> vector = *reinterpret_cast<const Vector<T, W>*>(from);
#pragma unroll
  for (int k = 0; k < W; ++k) floats[k] = to_float(vector.at[k]);
}

template <int W, class T>
__device__ __forceinline__ void store(T* to, const float (&floats)[W]) {
  Vector<T, W> vector;
#pragma unroll
  for (int k = 0; k < W; ++k) round_to(floats[k], vector.at[k]);
  *reinterpret_cast<Vector<T, W>*>(to) = vector;
}

}  // namespace codex
