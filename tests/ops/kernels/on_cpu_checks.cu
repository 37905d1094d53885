// Small kernels, right and wrong, for test_on_cpu.py: what the execution on a CPU does with each. `out` is
// [num_threads].
#include "../../../csrc/common/launch.h"
#include "../../../csrc/common/reduce.h"

namespace codex {

enum Wrong { kNotInMask, kEnded, kHalfAtBarrier, kTwoBarriers, kBarrierAfterEnd, kNeverMet, kAbsentLane, kBesideArray };

__global__ void shuffles(const int* given, int* taken, int source, int width) {
  const int lane = threadIdx.x, value = given[lane], num = blockDim.x;
  taken[lane] = __shfl_sync(kAllLanes, value, source, width);
  taken[num + lane] = __shfl_xor_sync(kAllLanes, value, source, width);
  taken[2 * num + lane] = __shfl_down_sync(kAllLanes, value, source, width);
  taken[3 * num + lane] = __shfl_up_sync(kAllLanes, value, source, width);
  taken[4 * num + lane] = static_cast<int>(__ballot_sync(kAllLanes, value & 1));
  taken[5 * num + lane] = __any_sync(kAllLanes, value > source) + 2 * __all_sync(kAllLanes, value > source);
}

// Half of the warp is busy with itself while the other half waits for all: legal.
__global__ void halves_then_all(float* out) {
  const int lane = threadIdx.x;
  float value = static_cast<float>(lane);
  if (lane < 16) value = warp_sum<16>(value, 0xffffu);
  __syncwarp();
  out[lane] = warp_sum(value);
}

__global__ void atomics(int* counters, float* sum) {
  const int index = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  atomicAdd(&counters[0], 1);
  atomicMax(&counters[1], index);
  atomicMin(&counters[2], index);
  atomicCAS(&counters[3], 7, 8);
  atomicAdd(sum, 1.0f);
}

__global__ void shared_memory(float* out, int write) {
  CODEX_SHARED(float, array, 64);
  CODEX_DYNAMIC_SHARED(float, dynamic);
  const int thread = threadIdx.x;
  if (write) array[thread] = dynamic[thread] = static_cast<float>(thread);
  __syncthreads();
  out[thread] = array[63 - thread] + dynamic[63 - thread];
}

__global__ void wrong(float* out, int kind) {
  CODEX_SHARED(float, array, 8);
  const int thread = threadIdx.x, lane = thread % kWarp;
  if (kind == kNotInMask) __syncwarp(2u);
  if (kind == kEnded || kind == kBarrierAfterEnd) {
    if (lane >= 16) return;
    kind == kEnded ? __syncwarp() : __syncthreads();
  }
  if (kind == kHalfAtBarrier && thread < 32) __syncthreads();
  if (kind == kTwoBarriers) {
    if (thread < 32)
      __syncthreads();
    else
      __syncthreads();
  }
  if (kind == kNeverMet) {
    if (lane < 16)
      __syncwarp();
    else
      __syncthreads();
  }
  if (kind == kAbsentLane && lane < 16) out[thread] = __shfl_xor_sync(0xffffu, 1.0f, 16);
  if (kind == kBesideArray) array[8] = 1.0f;
}

}  // namespace codex

extern "C" {

int codex_shuffles(const int* given, int* taken, int source, int width, int num_threads, void* stream) {
  return codex::launch(codex::shuffles, {1, num_threads, 0, stream}, given, taken, source, width);
}
int codex_halves_then_all(float* out, void* stream) {
  return codex::launch(codex::halves_then_all, {1, 32, 0, stream}, out);
}
int codex_atomics(int* counters, float* sum, int64_t num_blocks, void* stream) {
  return codex::launch(codex::atomics, {num_blocks, 64, 0, stream}, counters, sum);
}
int codex_shared_memory(float* out, int write, int64_t bytes, int num_threads, void* stream) {
  return codex::launch(codex::shared_memory, {2, num_threads, static_cast<size_t>(bytes), stream}, out, write);
}
int codex_wrong(float* out, int kind, void* stream) {
  return codex::launch(codex::wrong, {1, 64, 0, stream}, out, kind);
}

}  // extern "C"
