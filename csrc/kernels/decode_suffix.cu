// Attention of one query per sample over that sample's own keys (contract: decode_suffix.h).
//
// B samples, A heads, L positions seen, D head size, e bytes an element. Bytes moved: 2 B A L D e for keys and values,
// and 2 B A D e + 4 B A + 4 B. FLOPs: 4 B A L D + 4 B A L: two for each byte of 16-bit keys, so it waits for memory,
// and tensor cores would gain nothing.
// At best, computed: codex_12b at TP = 8, micro-batch 1, on an H100 80GB SXM: 19.6 us.
//
// Launch: a block of four warps a sample and head; the warps take tiles of 32 positions in turn. For the scores a lane
// has a position, its query comes from shared memory, and no sum goes over lanes; for the values a lane has four
// neighbouring columns, so that a row is read in one piece: 32 lanes at D = 128, 24 at 96, 20 at 80, 16 at 64, where the
// others wait. The four warps' parts are joined in the end as codex_merge_attn_states joins two.
// Registers a thread, at most (budgets.json): decode_suffix 64.
#include "decode_suffix.h"

#include "../common/exponentials.h"
#include "../common/launch.h"
#include "../common/reduce.h"

namespace codex {

constexpr int kSuffixThreads = 128, kSuffixWarps = kSuffixThreads / kWarp;

struct Strides {
  int64_t sample, position, head;
};

// Neighbours that are loaded at once.
template <class T, bool kVectors>
constexpr int kNeighbours = kVectors ? kVectorBytes / static_cast<int>(sizeof(T)) : 1;

// The product of the query in shared memory and one row of keys.
template <int D, int W, class T>
__device__ __forceinline__ float row_product(const float* query, const T* row) {
  float sum = 0.0f;
#pragma unroll 4
  for (int column = 0; column < D; column += W) {
    float numbers[W];
    load<W>(row + column, numbers);
#pragma unroll
    for (int k = 0; k < W; ++k) sum += query[column + k] * numbers[k];
  }
  return sum;
}

// values [rows] times shares [rows], for W columns of this lane.
template <int W, class T>
__device__ __forceinline__ void add_rows(const T* values, int64_t stride, const float* shares, int num_rows,
                                         float (&sums)[4]) {
  for (int number = 0; number < num_rows; ++number) {
#pragma unroll
    for (int part = 0; part < 4; part += W) {
      float numbers[W];
      load<W>(values + number * stride + part, numbers);
#pragma unroll
      for (int k = 0; k < W; ++k) sums[part + k] += shares[number] * numbers[k];
    }
  }
}

// Takes in a score of each lane, whose exponential goes to `share`. What earlier sums are to be multiplied by.
__device__ __forceinline__ float add_scores(Exponentials& found, float score, float& share) {
  const float largest = fmaxf(found.largest, warp_max(score)), by = Exponentials::base(largest);
  const float power = fast_exp(score - by), kept = fast_exp(found.largest - by);
  found.largest = largest;
  found.sum = found.sum * kept + warp_sum(power);
  share = power;
  return kept;
}

// The warps' parts in shared memory: sums [warps, D], and what their scores' exponentials are relative to and sum up to.
struct WarpParts {
  float *sums, *largest, *weight;
};

// This block's row of `attended` and of lse from the four parts; without positions (`empty`) zeros.
template <class T, int D>
__device__ __forceinline__ void join(const WarpParts& parts, bool empty, T* attended, float* lse) {
  Exponentials all;
#pragma unroll
  for (int warp = 0; warp < kSuffixWarps; ++warp) {
    Exponentials part;
    part.largest = parts.largest[warp];
    part.sum = parts.weight[warp];
    all.add(part);
  }
  const float by = Exponentials::base(all.largest);
  for (int column = threadIdx.x; column < D; column += kSuffixThreads) {
    float sum = 0.0f;
#pragma unroll
    for (int warp = 0; warp < kSuffixWarps; ++warp)
      sum += parts.sums[warp * D + column] * fast_exp(parts.largest[warp] - by);
    round_to(empty ? 0.0f : sum / all.sum, attended[static_cast<int64_t>(blockIdx.x) * D + column]);
  }
  if (threadIdx.x == 0 && lse != nullptr) lse[blockIdx.x] = by + logf(all.sum);
}

template <class T, int D, bool kVectors>
__global__ void __launch_bounds__(kSuffixThreads)
    decode_suffix(const T* queries, const T* keys, const T* values, const int32_t* lengths, T* attended, float* lse,
                  int num_heads, Strides strides, int64_t window, float scale) {
  CODEX_SHARED(float, query, D);
  CODEX_SHARED(float, shares, kSuffixThreads);
  CODEX_SHARED(float, sums_of_warps, kSuffixWarps * D);
  CODEX_SHARED(float, largest_of_warps, kSuffixWarps);
  CODEX_SHARED(float, weight_of_warps, kSuffixWarps);
  const int thread = threadIdx.x, warp = thread / kWarp, lane = thread % kWarp;
  const int64_t sample = blockIdx.x / num_heads, head = blockIdx.x % num_heads;
  const int64_t length = lengths[sample], begin = window > 0 && length > window ? length - window : 0;
  const T* const sample_keys = keys + sample * strides.sample + head * strides.head;
  const T* const sample_values = values + sample * strides.sample + head * strides.head;
  for (int column = thread; column < D; column += kSuffixThreads)
    query[column] = to_float(queries[static_cast<int64_t>(blockIdx.x) * D + column]);
  __syncthreads();
  Exponentials found;
  float sums[4] = {};
  float* const warp_shares = shares + warp * kWarp;
  for (int64_t first = begin + warp * kWarp; first < length; first += kSuffixThreads) {
    const int num_rows = length - first < kWarp ? static_cast<int>(length - first) : kWarp;
    float score = -INFINITY;
    if (lane < num_rows)
      score = scale * row_product<D, kNeighbours<T, kVectors>>(query, sample_keys + (first + lane) * strides.position);
    const float kept = add_scores(found, score, warp_shares[lane]);
    __syncwarp();  // every lane reads all shares
#pragma unroll
    for (int k = 0; k < 4; ++k) sums[k] *= kept;
    if (lane * 4 < D)
      add_rows<kVectors ? 4 : 1>(sample_values + first * strides.position + lane * 4, strides.position, warp_shares,
                                 num_rows, sums);
    __syncwarp();  // before the next tile's shares
  }
  if (lane * 4 < D) {
#pragma unroll
    for (int k = 0; k < 4; ++k) sums_of_warps[warp * D + lane * 4 + k] = sums[k];
  }
  if (lane == 0) {
    largest_of_warps[warp] = found.largest;
    weight_of_warps[warp] = found.sum;
  }
  __syncthreads();
  join<T, D>({sums_of_warps, largest_of_warps, weight_of_warps}, begin >= length, attended, lse);
}

template <class T, int D>
int launch_decode_suffix(const void* queries, const void* keys, const void* values, const int32_t* lengths,
                         void* attended, float* lse, int64_t batch_size, int64_t num_heads, Strides strides,
                         int64_t window, float scale, void* stream) {
  constexpr int64_t kWide = kVectorBytes / sizeof(T);
  const bool vectors = strides.sample % kWide == 0 && takes_vectors<T>(strides.position, keys, values) &&
                       strides.head % kWide == 0;
  const auto kernel = vectors ? decode_suffix<T, D, true> : decode_suffix<T, D, false>;
  return launch(kernel, {batch_size * num_heads, kSuffixThreads, 0, stream}, static_cast<const T*>(queries),
                static_cast<const T*>(keys), static_cast<const T*>(values), lengths, static_cast<T*>(attended), lse,
                static_cast<int>(num_heads), strides, window, scale);
}

}  // namespace codex

int codex_decode_suffix(const void* queries, const void* keys, const void* values, const int32_t* lengths,
                        void* attended, float* lse, int64_t batch_size, int64_t num_heads, int64_t head_size,
                        int64_t sample_stride, int64_t position_stride, int64_t head_stride, int64_t window,
                        float scale, int dtype, void* stream) {
  using namespace codex;
  return by_dtype(dtype, [=](auto of) -> int {
    using T = typename decltype(of)::Type;
    if (batch_size < 0 || num_heads < 0 || window < 0 || batch_size > INT32_MAX || num_heads > INT32_MAX ||
        batch_size * num_heads > INT32_MAX)
      return CODEX_BAD_SIZE;
    const auto launch_it = head_size == 64    ? launch_decode_suffix<T, 64>
                           : head_size == 80  ? launch_decode_suffix<T, 80>
                           : head_size == 96  ? launch_decode_suffix<T, 96>
                           : head_size == 128 ? launch_decode_suffix<T, 128>
                                              : nullptr;
    if (launch_it == nullptr) return CODEX_BAD_SIZE;
    if (batch_size * num_heads == 0) return CODEX_OK;
    if (const int status = check_pointers<T>(queries, keys, values, attended)) return status;
    if (const int status = check_pointers<int32_t>(lengths)) return status;
    if (!aligned(lse, sizeof(float))) return CODEX_BAD_POINTER;
    return launch_it(queries, keys, values, lengths, attended, lse, batch_size, num_heads,
                     Strides{sample_stride, position_stride, head_stride}, window, scale, stream);
  });
}
