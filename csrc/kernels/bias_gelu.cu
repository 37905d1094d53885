// GELU with tanh of x + bias, and its gradients (contract: bias_gelu.h).
//
// N rows of F features, e bytes each, P partial sums (at most 128). Bytes moved: forward 2 N F e + F e; backward
// 3 N F e + F e + 8 P F + 4 F. FLOPs: about 12 N F forward, 22 N F backward, a tanh counted as 5: both wait for memory.
// At best, computed: codex_12b at TP = 8, micro-batch 1, on an H100 80GB SXM: forward 6.3 us, backward 10.2 us.
//
// Launch: a thread has 16 bytes of neighbouring columns, 128 threads are a tile, and each block goes down some rows of
// its tile with the bias in registers. Backward the bias's gradient is summed on the way, a partial sum for each block
// of the tile, and a second kernel adds those in order: no atomics, and one more read of at most 128 rows.
// Registers a thread, at most (budgets.json): bias_gelu 40, bias_gelu_gradient 64.
#include "bias_gelu.h"

#include "../common/column_sums.h"
#include "../common/launch.h"

namespace codex {

constexpr int kGeluThreads = 128;
constexpr int64_t kGeluRows = 4, kGeluMinPartialRows = 8, kGeluMaxPartials = 128;
constexpr float kRootTwoOverPi = 0.7978845608028654f, kCubic = 0.044715f;

// Beyond 20 tanh is 1 in fp32, and the cube must not become infinite; NaN stays.
__device__ __forceinline__ float bounded(float x) { return x > 20.0f ? 20.0f : x < -20.0f ? -20.0f : x; }

__device__ __forceinline__ float tanh_of(float x) { return tanhf(kRootTwoOverPi * (x + kCubic * x * x * x)); }

__device__ __forceinline__ float gelu(float x) { return 0.5f * x * (1.0f + tanh_of(bounded(x))); }

__device__ __forceinline__ float gelu_slope(float x) {
  const float near = bounded(x), tanh = tanh_of(near);
  const float inner_slope = kRootTwoOverPi * (1.0f + 3.0f * kCubic * near * near);
  return 0.5f * (1.0f + tanh) + 0.5f * near * (1.0f - tanh * tanh) * inner_slope;
}

template <class T, int W>
__global__ void __launch_bounds__(kGeluThreads)
    bias_gelu(const T* x, const T* bias, T* y, int64_t num_rows, int64_t num_features, int64_t num_tiles) {
  const int64_t column = (blockIdx.x % num_tiles * kGeluThreads + threadIdx.x) * W;
  if (column >= num_features) return;
  const int64_t first = blockIdx.x / num_tiles * kGeluRows;
  const int64_t end = first + kGeluRows < num_rows ? first + kGeluRows : num_rows;
  float added[W];
  load<W>(bias + column, added);
  for (int64_t row = first; row < end; ++row) {
    float numbers[W];
    load<W>(x + row * num_features + column, numbers);
#pragma unroll
    for (int k = 0; k < W; ++k) numbers[k] = gelu(numbers[k] + added[k]);
    store<W>(y + row * num_features + column, numbers);
  }
}

template <class T, int W>
__global__ void __launch_bounds__(kGeluThreads)
    bias_gelu_gradient(const T* x, const T* bias, const T* y_gradients, T* x_gradients, float* partials,
                       int64_t num_rows, int64_t num_features, int64_t num_tiles, int64_t num_partials) {
  const int64_t column = (blockIdx.x % num_tiles * kGeluThreads + threadIdx.x) * W;
  if (column >= num_features) return;
  const int64_t part = blockIdx.x / num_tiles;
  float added[W], sums[W] = {};
  load<W>(bias + column, added);
  for (int64_t row = part; row < num_rows; row += num_partials) {
    float numbers[W], gradients[W];
    load<W>(x + row * num_features + column, numbers);
    load<W>(y_gradients + row * num_features + column, gradients);
#pragma unroll
    for (int k = 0; k < W; ++k) {
      gradients[k] *= gelu_slope(numbers[k] + added[k]);
      sums[k] += gradients[k];
    }
    store<W>(x_gradients + row * num_features + column, gradients);
  }
#pragma unroll
  for (int k = 0; k < W; ++k) partials[part * num_features + column + k] = sums[k];
}

static int check_gelu_shape(int64_t num_rows, int64_t num_features) {
  return num_rows >= 0 && num_rows <= INT32_MAX && num_features >= 0 && num_features <= INT32_MAX ? CODEX_OK
                                                                                                 : CODEX_BAD_SIZE;
}

}  // namespace codex

int codex_bias_gelu(const void* x, const void* bias, void* y, int64_t num_rows, int64_t num_features, int dtype,
                    void* stream) {
  using namespace codex;
  return by_dtype(dtype, [=](auto of) -> int {
    using T = typename decltype(of)::Type;
    constexpr int kWide = kVectorBytes / sizeof(T);
    if (const int status = check_gelu_shape(num_rows, num_features)) return status;
    if (num_rows == 0 || num_features == 0) return CODEX_OK;
    if (const int status = check_pointers<T>(x, bias, y)) return status;
    const bool vectors = takes_vectors<T>(num_features, x, bias, y);
    const int64_t num_tiles = ceil_div(num_features, kGeluThreads * (vectors ? kWide : 1));
    return launch(vectors ? bias_gelu<T, kWide> : bias_gelu<T, 1>,
                  {num_tiles * ceil_div(num_rows, kGeluRows), kGeluThreads, 0, stream}, static_cast<const T*>(x),
                  static_cast<const T*>(bias), static_cast<T*>(y), num_rows, num_features, num_tiles);
  });
}

int64_t codex_bias_gelu_num_partials(int64_t num_rows) {
  const int64_t parts = codex::ceil_div(num_rows > 0 ? num_rows : 0, codex::kGeluMinPartialRows);
  return parts < codex::kGeluMaxPartials ? parts : codex::kGeluMaxPartials;
}

int codex_bias_gelu_gradient(const void* x, const void* bias, const void* y_gradients, void* x_gradients,
                             float* partials, float* bias_gradient, int64_t num_rows, int64_t num_features, int dtype,
                             void* stream) {
  using namespace codex;
  return by_dtype(dtype, [=](auto of) -> int {
    using T = typename decltype(of)::Type;
    constexpr int kWide = kVectorBytes / sizeof(T);
    const int64_t num_partials = codex_bias_gelu_num_partials(num_rows);
    if (const int status = check_gelu_shape(num_rows, num_features)) return status;
    if (num_features == 0) return CODEX_OK;
    if (const int status = check_pointers<float>(bias_gradient)) return status;
    if (num_rows > 0) {
      if (const int status = check_pointers<T>(x, bias, y_gradients, x_gradients)) return status;
      if (const int status = check_pointers<float>(partials)) return status;
      const bool vectors = takes_vectors<T>(num_features, x, bias, y_gradients, x_gradients);
      const int64_t num_tiles = ceil_div(num_features, kGeluThreads * (vectors ? kWide : 1));
      const int status = launch(vectors ? bias_gelu_gradient<T, kWide> : bias_gelu_gradient<T, 1>,
                                {num_tiles * num_partials, kGeluThreads, 0, stream}, static_cast<const T*>(x),
                                static_cast<const T*>(bias), static_cast<const T*>(y_gradients),
                                static_cast<T*>(x_gradients), partials, num_rows, num_features, num_tiles,
                                num_partials);
      if (status != CODEX_OK) return status;
    }
    return add_partials(partials, bias_gradient, num_partials, num_features, stream);
  });
}
