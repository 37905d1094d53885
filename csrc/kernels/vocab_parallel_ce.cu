// Cross entropy over a rank's columns of the vocabulary (contract: vocab_parallel_ce.h).
//
// n of N rows count; V true columns on this rank, P with padding, e bytes an element.
// Bytes moved: pieces n V e + 9 n + 12 N; loss 28 n + 12 N; gradient 2 n V e + n (P - V) e, with zero_ignored
// (N - n) P e more.
// FLOPs: pieces 5 n V (compare, subtract, exp as 2, add), gradient 5 n V: both wait for memory.
// At best, computed: codex_12b at TP = 8, micro-batch 1, on an H100 80GB SXM: forward 7.7 us, backward 15.4 us.
//
// Launch: a block of 256 threads a row. A row of V = 6,400 bf16 columns (51,200 over 8 ranks) is 800 vectors of 16
// bytes, three for each thread: enough rows are under way to fill the machine, and no row needs a second kernel to join
// its parts. Logits are read twice in all: for the pieces and for the gradient, which overwrites them.
// Registers a thread, at most (budgets.json): ce_pieces 40, ce_gradient 40, ce_loss 24, ce_rescale 24.
#include "vocab_parallel_ce.h"

#include "../common/exponentials.h"
#include "../common/launch.h"

namespace codex {

constexpr int kCeThreads = 256;

__device__ __forceinline__ bool counts(const uint8_t* loss_mask, int64_t row) {
  return loss_mask == nullptr || loss_mask[row] != 0;
}

template <class T, int W>
__global__ void __launch_bounds__(kCeThreads)
    ce_pieces(const T* logits, const int64_t* labels, const uint8_t* loss_mask, float* largest, float* sums,
              int64_t num_columns, int64_t num_padded, int64_t first_column) {
  constexpr int kWarps = kCeThreads / kWarp;
  CODEX_SHARED(float, largest_of_warps, kWarps);
  CODEX_SHARED(float, sums_of_warps, kWarps);
  const int64_t row = blockIdx.x, num_rows = gridDim.x;
  const int thread = threadIdx.x;
  Exponentials found;
  if (counts(loss_mask, row)) {  // the same for the whole block
    const T* const row_logits = logits + row * num_padded;
    for (int64_t column = thread * W; column < num_columns; column += kCeThreads * W) {
      float numbers[W];
      load<W>(row_logits + column, numbers);
#pragma unroll
      for (int k = 0; k < W; ++k)
        if (column + k >= num_columns) numbers[k] = -INFINITY;  // padding of the vocabulary
      found.add(numbers);
    }
  }
  found.join_lanes<kWarp>(kAllLanes);
  if (thread % kWarp == 0) {
    largest_of_warps[thread / kWarp] = found.largest;
    sums_of_warps[thread / kWarp] = found.sum;
  }
  __syncthreads();
  if (thread >= kWarps) return;
  found.largest = largest_of_warps[thread];
  found.sum = sums_of_warps[thread];
  found.join_lanes<kWarps>((1u << kWarps) - 1);
  if (thread > 0) return;
  float at_label = 0.0f;
  if (counts(loss_mask, row)) {
    const int64_t label = labels[row] - first_column;
    if (label >= 0 && label < num_columns) at_label = to_float(logits[row * num_padded + label]);
  }
  largest[row] = found.largest;
  sums[row] = found.sum;
  sums[num_rows + row] = at_label;
}

__global__ void __launch_bounds__(kCeThreads)
    ce_rescale(float* sums, const float* local_largest, const float* largest, int64_t num_rows) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kCeThreads + threadIdx.x;
  if (row >= num_rows) return;
  sums[row] *= fast_exp(local_largest[row] - Exponentials::base(largest[row]));
}

__global__ void __launch_bounds__(kCeThreads)
    ce_loss(const float* largest, const float* sums, const int64_t* labels, const uint8_t* loss_mask, float* losses,
            float* log_ps, float* log_sums, int64_t num_rows, int64_t vocabulary) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kCeThreads + threadIdx.x;
  if (row >= num_rows) return;
  float log_sum = 0.0f, log_p = 0.0f;
  if (counts(loss_mask, row)) {
    const int64_t label = labels[row];
    log_sum = largest[row] + logf(sums[row]);
    log_p = label >= 0 && label < vocabulary ? sums[num_rows + row] - log_sum : NAN;
  }
  losses[row] = -log_p;
  if (log_ps != nullptr) log_ps[row] = log_p;
  log_sums[row] = log_sum;
}

template <class T, int W>
__global__ void __launch_bounds__(kCeThreads)
    ce_gradient(T* logits, const int64_t* labels, const uint8_t* loss_mask, const float* log_sums,
                const float* loss_gradients, int64_t num_columns, int64_t num_padded, int64_t first_column,
                int zero_ignored) {
  const int64_t row = blockIdx.x;
  const bool counted = counts(loss_mask, row);
  if (!counted && !zero_ignored) return;
  T* const row_logits = logits + row * num_padded;
  const int64_t true_columns = counted ? num_columns : 0;
  const int64_t label = counted ? labels[row] - first_column : 0;
  const float log_sum = counted ? log_sums[row] : 0.0f, factor = counted ? loss_gradients[row] : 0.0f;
  for (int64_t column = static_cast<int64_t>(threadIdx.x) * W; column < num_padded; column += kCeThreads * W) {
    float numbers[W] = {};
    if (column < true_columns) load<W>(row_logits + column, numbers);
#pragma unroll
    for (int k = 0; k < W; ++k) {
      const float one_hot = column + k == label ? 1.0f : 0.0f;
      numbers[k] = column + k < true_columns ? (fast_exp(numbers[k] - log_sum) - one_hot) * factor : 0.0f;
    }
    store<W>(row_logits + column, numbers);
  }
}

static int check_ce_shape(int64_t num_rows, int64_t num_columns, int64_t num_padded) {
  const bool fits = num_rows >= 0 && num_rows <= INT32_MAX && num_columns >= 0 && num_columns <= num_padded;
  return fits ? CODEX_OK : CODEX_BAD_SIZE;
}

static Launch a_thread_a_row(int64_t num_rows, void* stream) {
  return {ceil_div(num_rows, kCeThreads), kCeThreads, 0, stream};
}

}  // namespace codex

int codex_ce_pieces(const void* logits, const int64_t* labels, const uint8_t* loss_mask, float* largest, float* sums,
                    int64_t num_rows, int64_t num_columns, int64_t num_padded, int64_t first_column, int dtype,
                    void* stream) {
  using namespace codex;
  return by_dtype(dtype, [=](auto of) -> int {
    using T = typename decltype(of)::Type;
    constexpr int kWide = kVectorBytes / sizeof(T);
    if (const int status = check_ce_shape(num_rows, num_columns, num_padded)) return status;
    if (num_rows == 0) return CODEX_OK;
    if (const int status = num_padded > 0 ? check_pointers<T>(logits) : CODEX_OK) return status;
    if (const int status = check_pointers<float>(largest, sums)) return status;
    if (const int status = check_pointers<int64_t>(labels)) return status;
    const auto kernel = takes_vectors<T>(num_padded, logits) ? ce_pieces<T, kWide> : ce_pieces<T, 1>;
    return launch(kernel, {num_rows, kCeThreads, 0, stream}, static_cast<const T*>(logits), labels, loss_mask, largest,
                  sums, num_columns, num_padded, first_column);
  });
}

int codex_ce_rescale(float* sums, const float* local_largest, const float* largest, int64_t num_rows, void* stream) {
  using namespace codex;
  if (const int status = check_ce_shape(num_rows, 0, 0)) return status;
  if (num_rows == 0) return CODEX_OK;
  if (const int status = check_pointers<float>(sums, local_largest, largest)) return status;
  return launch(ce_rescale, a_thread_a_row(num_rows, stream), sums, local_largest, largest, num_rows);
}

int codex_ce_loss(const float* largest, const float* sums, const int64_t* labels, const uint8_t* loss_mask,
                  float* losses, float* log_ps, float* log_sums, int64_t num_rows, int64_t vocabulary, void* stream) {
  using namespace codex;
  if (const int status = check_ce_shape(num_rows, 0, vocabulary)) return status;
  if (num_rows == 0) return CODEX_OK;
  if (const int status = check_pointers<float>(largest, sums, losses, log_sums)) return status;
  if (const int status = check_pointers<int64_t>(labels)) return status;
  return launch(ce_loss, a_thread_a_row(num_rows, stream), largest, sums, labels, loss_mask, losses, log_ps, log_sums,
                num_rows, vocabulary);
}

int codex_ce_gradient(void* logits, const int64_t* labels, const uint8_t* loss_mask, const float* log_sums,
                      const float* loss_gradients, int64_t num_rows, int64_t num_columns, int64_t num_padded,
                      int64_t first_column, int zero_ignored, int dtype, void* stream) {
  using namespace codex;
  return by_dtype(dtype, [=](auto of) -> int {
    using T = typename decltype(of)::Type;
    constexpr int kWide = kVectorBytes / sizeof(T);
    if (const int status = check_ce_shape(num_rows, num_columns, num_padded)) return status;
    if (num_rows == 0 || num_padded == 0) return CODEX_OK;
    if (const int status = check_pointers<T>(logits)) return status;
    if (const int status = check_pointers<float>(log_sums, loss_gradients)) return status;
    if (const int status = check_pointers<int64_t>(labels)) return status;
    const auto kernel = takes_vectors<T>(num_padded, logits) ? ce_gradient<T, kWide> : ce_gradient<T, 1>;
    return launch(kernel, {num_rows, kCeThreads, 0, stream}, static_cast<T*>(logits), labels, loss_mask, log_sums,
                  loss_gradients, num_columns, num_padded, first_column, zero_ignored);
  });
}
