// Scaled softmax of attention scores, causal, in a band, without left padding (contract: causal_softmax.h).
//
// R rows (samples x heads x queries) of K keys, e bytes each, of which a share s is seen: half without a band.
// Bytes moved: R K e (s + 1) forward, R K e (2 s + 1) backward. What is seen is read twice, the second time from cache:
// the rows that a multiprocessor has under way are a few hundred KB. FLOPs: 8 s R K forward, 5 s R K backward: both
// wait for memory.
// At best, computed: codex_12b at TP = 8, micro-batch 1, on an H100 80GB SXM: forward 18.8 us, backward 25.0 us.
//
// Launch: a warp a row, four rows a block, 16 bytes a lane. Rows are not kept in registers: those of 4,096 keys would
// need 128 of a thread's in each of two arrays and spill, and there would be a kernel for each length. Keys that are
// not seen are not read. Between the passes lanes wait for each other: results may lie where the input did.
// Registers a thread, at most (budgets.json): causal_softmax 40, causal_softmax_gradient 48.
#include "causal_softmax.h"

#include <initializer_list>

#include "../common/exponentials.h"
#include "../common/launch.h"
#include "../common/reduce.h"

namespace codex {

constexpr int kSoftmaxThreads = 128, kSoftmaxRows = kSoftmaxThreads / kWarp;

struct Band {
  const int32_t* left_padding;
  int64_t num_rows, num_heads, num_queries, num_keys, first_key, window;
};

// The keys that one row sees: begin .. end.
struct Seen {
  int64_t begin, end;

  __device__ __forceinline__ Seen(const Band& band, int64_t row) {
    const int64_t last = band.first_key + row % band.num_queries;
    end = last + 1 < band.num_keys ? last + 1 : band.num_keys;
    begin = band.left_padding != nullptr ? band.left_padding[row / (band.num_heads * band.num_queries)] : 0;
    if (band.window > 0 && last - band.window + 1 > begin) begin = last - band.window + 1;
    if (begin < 0) begin = 0;
  }
  __device__ __forceinline__ bool has(int64_t key) const { return key >= begin && key < end; }
  template <int W>
  __device__ __forceinline__ bool touches(int64_t key) const {
    return key + W > begin && key < end;
  }
};

template <class T, int W>
__global__ void __launch_bounds__(kSoftmaxThreads)
    causal_softmax(const T* scores, T* probabilities, Band band, float scale) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kSoftmaxRows + threadIdx.x / kWarp;
  if (row >= band.num_rows) return;  // a whole warp
  const int first = static_cast<int>(threadIdx.x) % kWarp * W;
  const Seen seen(band, row);
  const T* const from = scores + row * band.num_keys;
  T* const to = probabilities + row * band.num_keys;
  Exponentials found;
  for (int64_t key = seen.begin / W * W + first; key < seen.end; key += kWarp * W) {
    float numbers[W];
    load<W>(from + key, numbers);
#pragma unroll
    for (int k = 0; k < W; ++k) numbers[k] = seen.has(key + k) ? numbers[k] * scale : -INFINITY;
    found.add(numbers);
  }
  found.join_lanes<kWarp>(kAllLanes);
  __syncwarp();
  const float by = Exponentials::base(found.largest), factor = 1.0f / found.sum;
  for (int64_t key = first; key < band.num_keys; key += kWarp * W) {
    float numbers[W] = {};
    if (seen.touches<W>(key)) {
      load<W>(from + key, numbers);
#pragma unroll
      for (int k = 0; k < W; ++k)
        numbers[k] = seen.has(key + k) ? fast_exp(numbers[k] * scale - by) * factor : 0.0f;
    }
    store<W>(to + key, numbers);
  }
}

template <class T, int W>
__global__ void __launch_bounds__(kSoftmaxThreads)
    causal_softmax_gradient(const T* probabilities, const T* gradients, T* score_gradients, Band band, float scale) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kSoftmaxRows + threadIdx.x / kWarp;
  if (row >= band.num_rows) return;  // a whole warp
  const int first = static_cast<int>(threadIdx.x) % kWarp * W;
  const Seen seen(band, row);
  const T* const shares = probabilities + row * band.num_keys;
  const T* const from = gradients + row * band.num_keys;
  T* const to = score_gradients + row * band.num_keys;
  float mean = 0.0f;
  for (int64_t key = seen.begin / W * W + first; key < seen.end; key += kWarp * W) {
    float share[W], gradient[W];
    load<W>(shares + key, share);
    load<W>(from + key, gradient);
#pragma unroll
    for (int k = 0; k < W; ++k)
      if (seen.has(key + k)) mean += share[k] * gradient[k];
  }
  mean = warp_sum(mean);
  __syncwarp();
  for (int64_t key = first; key < band.num_keys; key += kWarp * W) {
    float share[W], gradient[W] = {};
    if (seen.touches<W>(key)) {
      load<W>(shares + key, share);
      load<W>(from + key, gradient);
#pragma unroll
      for (int k = 0; k < W; ++k) gradient[k] = seen.has(key + k) ? scale * share[k] * (gradient[k] - mean) : 0.0f;
    }
    store<W>(to + key, gradient);
  }
}

// Completes the band by the number of its rows. CODEX_BAD_SIZE where a size is out of its limits.
static int count_rows(int64_t batch_size, Band& band) {
  for (const int64_t size : {batch_size, band.num_heads, band.num_queries, band.num_keys})
    if (size < 0 || size > INT32_MAX) return CODEX_BAD_SIZE;
  if (band.window < 0 || band.first_key > INT32_MAX || band.first_key < -int64_t{INT32_MAX}) return CODEX_BAD_SIZE;
  if (batch_size * band.num_heads > INT32_MAX) return CODEX_BAD_SIZE;
  band.num_rows = batch_size * band.num_heads * band.num_queries;
  return band.num_rows <= INT32_MAX ? CODEX_OK : CODEX_BAD_SIZE;
}

// What both entry points do: checks, and then launch_rows(Of<T>{}, band), where there are rows with keys.
template <class Launch>
static int over_rows(int64_t batch_size, Band band, int dtype, Launch launch_rows) {
  return by_dtype(dtype, [&](auto of) -> int {
    if (const int status = count_rows(batch_size, band)) return status;
    if (band.num_rows == 0 || band.num_keys == 0) return CODEX_OK;
    if (!aligned(band.left_padding, sizeof(int32_t))) return CODEX_BAD_POINTER;
    return launch_rows(of, band);
  });
}

}  // namespace codex

int codex_causal_softmax(const void* scores, void* probabilities, const int32_t* left_padding, int64_t batch_size,
                         int64_t num_heads, int64_t num_queries, int64_t num_keys, int64_t first_key, int64_t window,
                         float scale, int dtype, void* stream) {
  using namespace codex;
  const Band given{left_padding, 0, num_heads, num_queries, num_keys, first_key, window};
  return over_rows(batch_size, given, dtype, [=](auto of, const Band& band) -> int {
    using T = typename decltype(of)::Type;
    constexpr int kWide = kVectorBytes / sizeof(T);
    if (const int status = check_pointers<T>(scores, probabilities)) return status;
    const bool vectors = takes_vectors<T>(num_keys, scores, probabilities);
    return launch(vectors ? causal_softmax<T, kWide> : causal_softmax<T, 1>,
                  {ceil_div(band.num_rows, kSoftmaxRows), kSoftmaxThreads, 0, stream}, static_cast<const T*>(scores),
                  static_cast<T*>(probabilities), band, scale);
  });
}

int codex_causal_softmax_gradient(const void* probabilities, const void* gradients, void* score_gradients,
                                  const int32_t* left_padding, int64_t batch_size, int64_t num_heads,
                                  int64_t num_queries, int64_t num_keys, int64_t first_key, int64_t window, float scale,
                                  int dtype, void* stream) {
  using namespace codex;
  const Band given{left_padding, 0, num_heads, num_queries, num_keys, first_key, window};
  return over_rows(batch_size, given, dtype, [=](auto of, const Band& band) -> int {
    using T = typename decltype(of)::Type;
    constexpr int kWide = kVectorBytes / sizeof(T);
    if (const int status = check_pointers<T>(probabilities, gradients, score_gradients)) return status;
    const bool vectors = takes_vectors<T>(num_keys, probabilities, gradients, score_gradients);
    return launch(vectors ? causal_softmax_gradient<T, kWide> : causal_softmax_gradient<T, 1>,
                  {ceil_div(band.num_rows, kSoftmaxRows), kSoftmaxThreads, 0, stream},
                  static_cast<const T*>(probabilities), static_cast<const T*>(gradients),
                  static_cast<T*>(score_gradients), band, scale);
  });
}
