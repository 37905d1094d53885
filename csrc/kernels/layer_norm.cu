// Layer normalisation and its gradients (contract: layer_norm.h).
//
// N rows of H, e bytes each, P partial sums (at most 256). Bytes moved: forward 2 N H e + 8 N + 2 H e; backward
// 3 N H e + 8 N + H e + 16 P H + 8 H: x and y_gradients are read twice, the second time from cache. FLOPs: 8 N H
// forward, 15 N H backward: both wait for memory.
// At best, computed: codex_12b at TP = 8, micro-batch 1, on an H100 80GB SXM: forward 1.6 us, backward 8.6 us.
// There a rank has 256 rows, and the partial sums are more than those; they stay in its 50 MB of cache.
//
// Launch: blocks of 256 threads that stay and take a row after the other. Forward a row lies in shared memory as fp32
// (4 H bytes: 20 KB at H = 5,120), so that the variance is that of the centred row, as exact as in two passes over
// memory. Backward a thread keeps its columns' sums for weight and bias in shared memory (8 H bytes) from row to row,
// and 256 blocks leave one partial sum each, which a second kernel adds in order: no atomics.
// Registers a thread, at most (budgets.json): layer_norm 64, layer_norm_gradient 80.
#include "layer_norm.h"

#include "../common/column_sums.h"
#include "../common/launch.h"
#include "../common/reduce.h"

namespace codex {

constexpr int kNormThreads = 256;
constexpr int64_t kNormMaxBlocks = 1024, kNormMaxPartials = 256;

// This thread's columns of a row: into shared memory as fp32. Their sum.
template <class T, int W>
__device__ __forceinline__ float keep_row(const T* from, int hidden_size, float* row_numbers) {
  float sum = 0.0f;
  for (int column = static_cast<int>(threadIdx.x) * W; column < hidden_size; column += kNormThreads * W) {
    float numbers[W];
    load<W>(from + column, numbers);
#pragma unroll
    for (int k = 0; k < W; ++k) sum += row_numbers[column + k] = numbers[k];
  }
  return sum;
}

// The sum of squares of this thread's columns, less the mean.
template <int W>
__device__ __forceinline__ float centred_squares(const float* row_numbers, int hidden_size, float mean) {
  float squares = 0.0f;
  for (int column = static_cast<int>(threadIdx.x) * W; column < hidden_size; column += kNormThreads * W) {
#pragma unroll
    for (int k = 0; k < W; ++k) {
      const float centred = row_numbers[column + k] - mean;
      squares += centred * centred;
    }
  }
  return squares;
}

template <class T, int W>
__global__ void __launch_bounds__(kNormThreads)
    layer_norm(const T* x, const T* weight, const T* bias, T* y, float* means, float* inverse_deviations,
               int64_t num_rows, int hidden_size, float epsilon) {
  CODEX_DYNAMIC_SHARED(float, row_numbers);
  CODEX_SHARED(float, sums_of_warps, kNormThreads / kWarp);
  for (int64_t row = blockIdx.x; row < num_rows; row += gridDim.x) {
    T* const to = y + row * hidden_size;
    const float sum = keep_row<T, W>(x + row * hidden_size, hidden_size, row_numbers);
    const float mean = block_sum<kNormThreads>(sum, sums_of_warps) / hidden_size;
    const float squares = centred_squares<W>(row_numbers, hidden_size, mean);
    const float variance = block_sum<kNormThreads>(squares, sums_of_warps) / hidden_size;
    const float inverse_deviation = 1.0f / sqrtf(variance + epsilon);
    for (int column = static_cast<int>(threadIdx.x) * W; column < hidden_size; column += kNormThreads * W) {
      float weights[W], numbers[W];
      load<W>(weight + column, weights);
      load<W>(bias + column, numbers);
#pragma unroll
      for (int k = 0; k < W; ++k)
        numbers[k] += (row_numbers[column + k] - mean) * inverse_deviation * weights[k];
      store<W>(to + column, numbers);
    }
    if (threadIdx.x == 0) {
      means[row] = mean;
      inverse_deviations[row] = inverse_deviation;
    }
  }
}

// One row on its way back: x, the gradient of y, and what the forward pass kept.
template <class T>
struct NormRow {
  const T *x, *given;
  float mean, inverse_deviation;
};

// The sums over a row that its gradient needs: of the weighted gradients, and of these times the normalised row.
struct NormSums {
  float weighted = 0.0f, product = 0.0f;
};

// This thread's columns of a row: added to the gradients of weight and bias, and to the sums that are returned.
template <class T, int W>
__device__ __forceinline__ NormSums add_row(const NormRow<T>& row, const T* weight, int hidden_size, float* weight_sums,
                                            float* bias_sums) {
  NormSums sums;
  for (int column = static_cast<int>(threadIdx.x) * W; column < hidden_size; column += kNormThreads * W) {
    float numbers[W], gradients[W], weights[W];
    load<W>(row.x + column, numbers);
    load<W>(row.given + column, gradients);
    load<W>(weight + column, weights);
#pragma unroll
    for (int k = 0; k < W; ++k) {
      const float normal = (numbers[k] - row.mean) * row.inverse_deviation, weighted = gradients[k] * weights[k];
      weight_sums[column + k] += gradients[k] * normal;
      bias_sums[column + k] += gradients[k];
      sums.weighted += weighted;
      sums.product += weighted * normal;
    }
  }
  return sums;
}

// This thread's columns of the gradient of x, given the row's means of both sums.
template <class T, int W>
__device__ __forceinline__ void write_gradient(const NormRow<T>& row, const T* weight, int hidden_size,
                                               const NormSums& means, T* to) {
  for (int column = static_cast<int>(threadIdx.x) * W; column < hidden_size; column += kNormThreads * W) {
    float numbers[W], gradients[W], weights[W];
    load<W>(row.x + column, numbers);
    load<W>(row.given + column, gradients);
    load<W>(weight + column, weights);
#pragma unroll
    for (int k = 0; k < W; ++k) {
      const float normal = (numbers[k] - row.mean) * row.inverse_deviation;
      gradients[k] = row.inverse_deviation * (gradients[k] * weights[k] - means.weighted - normal * means.product);
    }
    store<W>(to + column, gradients);
  }
}

template <class T, int W>
__global__ void __launch_bounds__(kNormThreads)
    layer_norm_gradient(const T* x, const T* weight, const float* means, const float* inverse_deviations,
                        const T* y_gradients, T* x_gradients, float* partials, int64_t num_rows, int hidden_size) {
  CODEX_DYNAMIC_SHARED(float, weight_sums);
  CODEX_SHARED(float, sums_of_warps, kNormThreads / kWarp);
  float* const bias_sums = weight_sums + hidden_size;
  const int first = static_cast<int>(threadIdx.x) * W;
  // A thread has the same columns in every loop, so that these sums need no barrier.
  for (int column = first; column < hidden_size; column += kNormThreads * W) {
#pragma unroll
    for (int k = 0; k < W; ++k) weight_sums[column + k] = bias_sums[column + k] = 0.0f;
  }
  for (int64_t row = blockIdx.x; row < num_rows; row += gridDim.x) {
    const int64_t start = row * hidden_size;
    const NormRow<T> its{x + start, y_gradients + start, means[row], inverse_deviations[row]};
    const NormSums sums = add_row<T, W>(its, weight, hidden_size, weight_sums, bias_sums);
    NormSums mean;
    mean.weighted = block_sum<kNormThreads>(sums.weighted, sums_of_warps) / hidden_size;
    mean.product = block_sum<kNormThreads>(sums.product, sums_of_warps) / hidden_size;
    write_gradient<T, W>(its, weight, hidden_size, mean, x_gradients + start);
  }
  float* const partial = partials + blockIdx.x * 2 * static_cast<int64_t>(hidden_size);
  for (int column = first; column < hidden_size; column += kNormThreads * W) {
#pragma unroll
    for (int k = 0; k < W; ++k) {
      partial[column + k] = weight_sums[column + k];
      partial[hidden_size + column + k] = bias_sums[column + k];
    }
  }
}

static int check_norm_shape(int64_t num_rows, int64_t hidden_size) {
  const bool fits = num_rows >= 0 && num_rows <= INT32_MAX && hidden_size >= 1;
  return fits && hidden_size <= CODEX_LAYER_NORM_MAX_HIDDEN ? CODEX_OK : CODEX_BAD_SIZE;
}

}  // namespace codex

int codex_layer_norm(const void* x, const void* weight, const void* bias, void* y, float* means,
                     float* inverse_deviations, int64_t num_rows, int64_t hidden_size, float epsilon, int dtype,
                     void* stream) {
  using namespace codex;
  return by_dtype(dtype, [=](auto of) -> int {
    using T = typename decltype(of)::Type;
    constexpr int kWide = kVectorBytes / sizeof(T);
    if (const int status = check_norm_shape(num_rows, hidden_size)) return status;
    if (num_rows == 0) return CODEX_OK;
    if (const int status = check_pointers<T>(x, weight, bias, y)) return status;
    if (const int status = check_pointers<float>(means, inverse_deviations)) return status;
    const bool vectors = takes_vectors<T>(hidden_size, x, weight, bias, y);
    const int64_t num_blocks = num_rows < kNormMaxBlocks ? num_rows : kNormMaxBlocks;
    return launch(vectors ? layer_norm<T, kWide> : layer_norm<T, 1>,
                  {num_blocks, kNormThreads, hidden_size * sizeof(float), stream}, static_cast<const T*>(x),
                  static_cast<const T*>(weight), static_cast<const T*>(bias), static_cast<T*>(y), means,
                  inverse_deviations, num_rows, static_cast<int>(hidden_size), epsilon);
  });
}

int64_t codex_layer_norm_num_partials(int64_t num_rows) {
  return num_rows < 0 ? 0 : num_rows < codex::kNormMaxPartials ? num_rows : codex::kNormMaxPartials;
}

int codex_layer_norm_gradient(const void* x, const void* weight, const float* means, const float* inverse_deviations,
                              const void* y_gradients, void* x_gradients, float* partials,
                              float* weight_and_bias_gradients, int64_t num_rows, int64_t hidden_size, int dtype,
                              void* stream) {
  using namespace codex;
  return by_dtype(dtype, [=](auto of) -> int {
    using T = typename decltype(of)::Type;
    constexpr int kWide = kVectorBytes / sizeof(T);
    const int64_t num_partials = codex_layer_norm_num_partials(num_rows);
    if (const int status = check_norm_shape(num_rows, hidden_size)) return status;
    if (const int status = check_pointers<float>(weight_and_bias_gradients)) return status;
    if (num_rows > 0) {
      if (const int status = check_pointers<T>(x, weight, y_gradients, x_gradients)) return status;
      if (const int status = check_pointers<float>(means, inverse_deviations, partials)) return status;
      const bool vectors = takes_vectors<T>(hidden_size, x, weight, y_gradients, x_gradients);
      const int status =
          launch(vectors ? layer_norm_gradient<T, kWide> : layer_norm_gradient<T, 1>,
                 {num_partials, kNormThreads, 2 * hidden_size * sizeof(float), stream}, static_cast<const T*>(x),
                 static_cast<const T*>(weight), means, inverse_deviations, static_cast<const T*>(y_gradients),
                 static_cast<T*>(x_gradients), partials, num_rows, static_cast<int>(hidden_size));
      if (status != CODEX_OK) return status;
    }
    return add_partials(partials, weight_and_bias_gradients, num_partials, 2 * hidden_size, stream);
  });
}
