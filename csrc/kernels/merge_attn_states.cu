// Two attentions over two sets of keys become one (contract: merge_attn_states.h).
//
// R rows of D elements, e bytes each. Bytes moved: 3 R D e + 12 R. FLOPs: 3 R D + 10 R: it waits for memory.
// At best, computed: codex_12b at TP = 8, micro-batch 1, on an H100 80GB SXM: 0.1 us.
//
// Launch: a warp a row, eight rows a block. Four neighbours a lane: 32 lanes are a row of 128, 20 are one of 80. A side
// without keys has no weight and is not read. The lanes have all read the log-sum-exps before one writes, since the
// result's may lie where one of theirs did.
// Registers a thread, at most (budgets.json): merge_attn_states 40.
#include "merge_attn_states.h"

#include "../common/launch.h"

namespace codex {

constexpr int kMergeThreads = 256;

template <class T, int W>
__global__ void __launch_bounds__(kMergeThreads)
    merge_attn_states(const T* first, const float* first_lse, const T* second, const float* second_lse, T* merged,
                      float* merged_lse, int64_t num_rows, int head_size) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * (kMergeThreads / kWarp) + threadIdx.x / kWarp;
  const int lane = threadIdx.x % kWarp;
  if (row >= num_rows) return;  // a whole warp
  const float of_first = first_lse[row], of_second = second_lse[row];
  const float largest = fmaxf(of_first, of_second), by = largest == -INFINITY ? 0.0f : largest;
  const float sum = expf(of_first - by) + expf(of_second - by);
  const float first_share = sum == 0.0f ? 0.0f : expf(of_first - by) / sum;
  const float second_share = sum == 0.0f ? 0.0f : expf(of_second - by) / sum;
  __syncwarp();
  if (lane == 0 && merged_lse != nullptr) merged_lse[row] = by + logf(sum);
  for (int column = lane * W; column < head_size; column += kWarp * W) {
    const int64_t at = row * head_size + column;
    float one[W] = {}, other[W] = {};
    if (first_share != 0.0f) load<W>(first + at, one);
    if (second_share != 0.0f) load<W>(second + at, other);
#pragma unroll
    for (int k = 0; k < W; ++k) one[k] = first_share * one[k] + second_share * other[k];
    store<W>(merged + at, one);
  }
}

}  // namespace codex

int codex_merge_attn_states(const void* first, const float* first_lse, const void* second, const float* second_lse,
                            void* merged, float* merged_lse, int64_t num_rows, int64_t head_size, int dtype,
                            void* stream) {
  using namespace codex;
  return by_dtype(dtype, [=](auto of) -> int {
    using T = typename decltype(of)::Type;
    constexpr int kWide = 4;
    if (num_rows < 0 || num_rows > INT32_MAX || head_size < 0 || head_size > 1024) return CODEX_BAD_SIZE;
    if (num_rows == 0) return CODEX_OK;
    if (const int status = check_pointers<T>(first, second, merged)) return status;
    if (const int status = check_pointers<float>(first_lse, second_lse)) return status;
    if (!aligned(merged_lse, sizeof(float))) return CODEX_BAD_POINTER;
    const bool vectors = head_size % kWide == 0 && aligned(first, kWide * sizeof(T)) &&
                         aligned(second, kWide * sizeof(T)) && aligned(merged, kWide * sizeof(T));
    const auto kernel = vectors ? merge_attn_states<T, kWide> : merge_attn_states<T, 1>;
    return launch(kernel, {ceil_div(num_rows, kMergeThreads / kWarp), kMergeThreads, 0, stream},
                  static_cast<const T*>(first), first_lse, static_cast<const T*>(second), second_lse,
                  static_cast<T*>(merged), merged_lse, num_rows, static_cast<int>(head_size));
  });
}
