// AdamW over one flat buffer (contract: flat_adam.h).
//
// N elements, g bytes a gradient, p bytes a parameter (0: none wanted). Bytes moved: square sum g N; step (24 + g + p)
// N: three fp32 states are read and written. With fp32 gradients and bf16 parameters the step moves 30 N.
// Optimizer state: 12 N bytes. FLOPs: square sum 2 N, step 15 N: both wait for memory.
// At best, computed: codex_12b at TP = 8, micro-batch 1, on an H100 80GB SXM: norm 1,918.4 us, step 14,388.3 us.
//
// Launch: 256 threads a block. The square sum has at most 1,024 blocks, whose parts one more block adds; it is fp64,
// where no square of an fp32 can overflow, so that it is finite if and only if every gradient is. The step gives each
// thread four vectors of four elements, which keeps several loads of five arrays under way; a block looks its first
// segment up once. The plan is one thread's work: it saves a copy to the host and back, which would stop the stream.
//
// Each rounding is spelled out as torch's CPU optimizer has it (fmaf where its vectors fuse), so that both moments are
// its bit for bit; the weights differ by the rounding of its vectors' square root, which is not that of IEEE 754.
// Registers a thread, at most (budgets.json): adam_square_sum 40, adam_join_partials 40, adam_plan 48, adam_step 64.
#include "flat_adam.h"

#include "../common/launch.h"
#include "../common/reduce.h"

namespace codex {

constexpr int kAdamThreads = 256, kMaxPartials = 1024;
constexpr int kAdamWidth = 4, kAdamVectors = 4;
constexpr int64_t kAdamChunk = int64_t{kAdamThreads} * kAdamWidth * kAdamVectors;

// W elements from `index`, those of them below `end`; 0 for the rest. Whole vectors in one load where they lie for it.
template <int W, class T>
__device__ __forceinline__ void load_part(const T* from, int64_t index, int64_t end, bool vectors, float (&floats)[W]) {
  if (vectors && index + W <= end) return load<W>(from + index, floats);
#pragma unroll
  for (int k = 0; k < W; ++k) floats[k] = index + k < end ? to_float(from[index + k]) : 0.0f;
}
template <int W, class T>
__device__ __forceinline__ void store_part(T* to, int64_t index, int64_t end, bool vectors, const float (&floats)[W]) {
  if (vectors && index + W <= end) return store<W>(to + index, floats);
#pragma unroll
  for (int k = 0; k < W; ++k)
    if (index + k < end) round_to(floats[k], to[index + k]);
}

template <class T>
__global__ void __launch_bounds__(kAdamThreads)
    adam_square_sum(const T* gradients, double* partials, int64_t num_elements, bool vectors) {
  constexpr int W = kVectorBytes / sizeof(T);
  CODEX_SHARED(double, sums_of_warps, kAdamThreads / kWarp);
  const int64_t stride = static_cast<int64_t>(gridDim.x) * kAdamThreads * W;
  double sum = 0.0;
  for (int64_t index = (static_cast<int64_t>(blockIdx.x) * kAdamThreads + threadIdx.x) * W; index < num_elements;
       index += stride) {
    float found[W];
    load_part<W>(gradients, index, num_elements, vectors, found);
#pragma unroll
    for (int k = 0; k < W; ++k) sum += static_cast<double>(found[k]) * static_cast<double>(found[k]);
  }
  sum = block_sum<kAdamThreads>(sum, sums_of_warps);
  if (threadIdx.x == 0) partials[blockIdx.x] = sum;
}

__global__ void __launch_bounds__(kAdamThreads)
    adam_join_partials(const double* partials, double* square_sum, int num_partials) {
  CODEX_SHARED(double, sums_of_warps, kAdamThreads / kWarp);
  double sum = 0.0;
  for (int number = threadIdx.x; number < num_partials; number += kAdamThreads) sum += partials[number];
  sum = block_sum<kAdamThreads>(sum, sums_of_warps);
  if (threadIdx.x == 0) *square_sum = sum;
}

__global__ void __launch_bounds__(kWarp)
    adam_plan(const double* square_sum, int64_t* step, float* plan, double gradient_scale, double clip_grad, double lr,
              double beta1, double beta2) {
  if (threadIdx.x > 0) return;
  const double norm = sqrt(*square_sum) * gradient_scale;
  const bool skipped = !isfinite(norm);
  if (!skipped) *step += 1;
  const double steps = static_cast<double>(*step);
  const double clip = clip_grad > 0.0 ? fmin(1.0, clip_grad / (norm + 1e-6)) : 1.0;  // as torch's clip_grad_norm_
  plan[CODEX_PLAN_GRADIENT_FACTOR] = skipped ? 0.0f : static_cast<float>(gradient_scale * clip);
  plan[CODEX_PLAN_STEP_SIZE] = skipped ? 0.0f : static_cast<float>(lr / (1.0 - pow(beta1, steps)));
  plan[CODEX_PLAN_SECOND_CORRECTION] = skipped ? 1.0f : static_cast<float>(sqrt(1.0 - pow(beta2, steps)));
  plan[CODEX_PLAN_SKIPPED] = skipped ? 1.0f : 0.0f;
  plan[CODEX_PLAN_NORM] = static_cast<float>(norm);
}

// The buffer's tensors: where each ends, and how fast its weights decay.
struct Segments {
  const int64_t* ends;
  const float* weight_decays;
  int64_t count;

  __device__ __forceinline__ int64_t of(int64_t index) const {
    int64_t low = 0, high = count - 1;
    while (low < high) {
      const int64_t middle = (low + high) / 2;
      if (ends[middle] <= index)
        low = middle + 1;
      else
        high = middle;
    }
    return low;
  }
};

struct AdamConstants {
  double lr;
  float first_share, beta2, second_share, eps;  // 1 - beta1, beta2, 1 - beta2
};

template <class Gradient, class Parameter>
__global__ void __launch_bounds__(kAdamThreads)
    adam_step(const Gradient* gradients, float* master, float* exp_avg, float* exp_avg_sq, Parameter* parameters,
              Segments segments, const float* plan, int64_t num_elements, AdamConstants constants, bool vectors) {
  constexpr int W = kAdamWidth;
  if (plan[CODEX_PLAN_SKIPPED] != 0.0f) return;
  const float factor = plan[CODEX_PLAN_GRADIENT_FACTOR], step_size = plan[CODEX_PLAN_STEP_SIZE];
  const float correction = plan[CODEX_PLAN_SECOND_CORRECTION];
  const int64_t begin = blockIdx.x * kAdamChunk;
  int64_t segment = segments.of(begin);
  for (int number = 0; number < kAdamVectors; ++number) {
    const int64_t index = begin + (static_cast<int64_t>(number) * kAdamThreads + threadIdx.x) * W;
    if (index >= num_elements) return;
    float gradient[W], weight[W], first[W], second[W];
    load_part<W>(gradients, index, num_elements, vectors, gradient);
    load_part<W>(master, index, num_elements, vectors, weight);
    load_part<W>(exp_avg, index, num_elements, vectors, first);
    load_part<W>(exp_avg_sq, index, num_elements, vectors, second);
#pragma unroll
    for (int k = 0; k < W; ++k) {
      while (segment + 1 < segments.count && segments.ends[segment] <= index + k) ++segment;
      const float kept = static_cast<float>(1.0 - constants.lr * segments.weight_decays[segment]);
      const float scaled = gradient[k] * factor;
      first[k] = fmaf(constants.first_share, scaled - first[k], first[k]);
      second[k] = fmaf(constants.second_share * scaled, scaled, second[k] * constants.beta2);
      const float divisor = sqrtf(second[k]) / correction + constants.eps;
      weight[k] = rounded_product(weight[k], kept) - step_size * first[k] / divisor;
    }
    store_part<W>(master, index, num_elements, vectors, weight);
    store_part<W>(exp_avg, index, num_elements, vectors, first);
    store_part<W>(exp_avg_sq, index, num_elements, vectors, second);
    if (parameters != nullptr) store_part<W>(parameters, index, num_elements, vectors, weight);
  }
}

}  // namespace codex

int64_t codex_flat_adam_num_partials(int64_t num_elements) {
  const int64_t blocks = codex::ceil_div(num_elements > 0 ? num_elements : 0, codex::kAdamChunk);
  return blocks < codex::kMaxPartials ? blocks : codex::kMaxPartials;
}

int codex_flat_adam_square_sum(const void* gradients, double* partials, double* square_sum, int64_t num_elements,
                               int gradient_dtype, void* stream) {
  using namespace codex;
  return by_dtype(gradient_dtype, [=](auto of) -> int {
    using T = typename decltype(of)::Type;
    const int64_t num_partials = codex_flat_adam_num_partials(num_elements);
    if (num_elements < 0) return CODEX_BAD_SIZE;
    if (const int status = check_pointers<double>(square_sum)) return status;
    if (num_elements > 0) {
      if (const int status = check_pointers<double>(partials)) return status;
      if (const int status = check_pointers<T>(gradients)) return status;
      const int status =
          launch(adam_square_sum<T>, {num_partials, kAdamThreads, 0, stream}, static_cast<const T*>(gradients),
                 partials, num_elements, aligned(gradients, kVectorBytes));
      if (status != CODEX_OK) return status;
    }
    return launch(adam_join_partials, {1, kAdamThreads, 0, stream}, partials, square_sum,
                  static_cast<int>(num_partials));
  });
}

int codex_flat_adam_plan(const double* square_sum, int64_t* step, float* plan, double gradient_scale, double clip_grad,
                         double lr, double beta1, double beta2, void* stream) {
  using namespace codex;
  if (const int status = check_pointers<double>(square_sum, step)) return status;
  if (const int status = check_pointers<float>(plan)) return status;
  return launch(adam_plan, {1, kWarp, 0, stream}, square_sum, step, plan, gradient_scale, clip_grad, lr, beta1, beta2);
}

int codex_flat_adam_step(const void* gradients, float* master, float* exp_avg, float* exp_avg_sq, void* parameters,
                         const int64_t* segment_ends, const float* weight_decays, int64_t num_segments,
                         const float* plan, int64_t num_elements, double lr, double beta1, double beta2, double eps,
                         int gradient_dtype, int parameter_dtype, void* stream) {
  using namespace codex;
  return by_dtype(gradient_dtype, [=](auto of_gradient) -> int {
    return by_dtype(parameter_dtype, [=](auto of_parameter) -> int {
      using Gradient = typename decltype(of_gradient)::Type;
      using Parameter = typename decltype(of_parameter)::Type;
      if (num_elements < 0) return CODEX_BAD_SIZE;
      if (num_elements == 0) return CODEX_OK;
      if (num_segments < 1) return CODEX_BAD_SIZE;
      if (const int status = check_pointers<Gradient>(gradients)) return status;
      if (const int status = check_pointers<float>(master, exp_avg, exp_avg_sq, plan, weight_decays)) return status;
      if (const int status = check_pointers<int64_t>(segment_ends)) return status;
      if (!aligned(parameters, sizeof(Parameter))) return CODEX_BAD_POINTER;
      const bool vectors = aligned(gradients, kAdamWidth * sizeof(Gradient)) && aligned(master, kVectorBytes) &&
                           aligned(exp_avg, kVectorBytes) && aligned(exp_avg_sq, kVectorBytes) &&
                           aligned(parameters, kAdamWidth * sizeof(Parameter));
      const AdamConstants constants{lr, static_cast<float>(1.0 - beta1), static_cast<float>(beta2),
                                    static_cast<float>(1.0 - beta2), static_cast<float>(eps)};
      return launch(adam_step<Gradient, Parameter>, {ceil_div(num_elements, kAdamChunk), kAdamThreads, 0, stream},
                    static_cast<const Gradient*>(gradients), master, exp_avg, exp_avg_sq,
                    static_cast<Parameter*>(parameters), Segments{segment_ends, weight_decays, num_segments}, plan,
                    num_elements, constants, vectors);
    });
  });
}
