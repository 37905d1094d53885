// AdamW over one flat buffer of many tensors, with fp32 master weights: norm, clipping, check for inf and NaN, step and
// the write of the low-precision parameters, without a word to the host.
//
// In turn: gradient_square_sum; all-reduce(SUM) of square_sum over the ranks that share the parameters' shards; plan;
// step. A buffer in which any gradient is inf or NaN has a square sum that is: all ranks then skip the step alike.
// The order of every sum is fixed by num_elements alone, so that a resumed run repeats bit for bit.
//
// Shapes: N elements, S segments (the tensors). gradients [N] gradient_dtype; master, exp_avg, exp_avg_sq [N] fp32;
// parameters [N] parameter_dtype. All pointers are device pointers.
#pragma once

#include <stdint.h>

#include "../common/status.h"

// The plan's floats: what a gradient is multiplied with, lr / (1 - beta1^step), sqrt(1 - beta2^step), 1 where the step
// is skipped (0 elsewhere), and the norm of the scaled gradients before they are clipped.
enum CodexFlatAdamPlan {
  CODEX_PLAN_GRADIENT_FACTOR = 0,
  CODEX_PLAN_STEP_SIZE = 1,
  CODEX_PLAN_SECOND_CORRECTION = 2,
  CODEX_PLAN_SKIPPED = 3,
  CODEX_PLAN_NORM = 4,
  CODEX_PLAN_SIZE = 5,
};

extern "C" {

// How many doubles of scratch gradient_square_sum needs; 0 for no elements.
int64_t codex_flat_adam_num_partials(int64_t num_elements);

// square_sum [1] fp64 = sum of gradient^2, before any scale. partials: the scratch.
int codex_flat_adam_square_sum(const void* gradients, double* partials, double* square_sum, int64_t num_elements,
                               int gradient_dtype, void* stream);

// plan [CODEX_PLAN_SIZE] fp32, all of it written at each call; step [1] is counted up, unless square_sum is not finite.
// gradient_scale: of every gradient, such as 1 / loss scale. clip_grad: largest norm after scaling; 0: no clipping.
int codex_flat_adam_plan(const double* square_sum, int64_t* step, float* plan, double gradient_scale, double clip_grad,
                         double lr, double beta1, double beta2, void* stream);

// master, exp_avg, exp_avg_sq and parameters (null: not wanted) of one step as torch.optim.AdamW defines it; none is
// touched where the plan skips. segment_ends [S]: rising, the last is num_elements; weight_decays [S] fp32.
int codex_flat_adam_step(const void* gradients, float* master, float* exp_avg, float* exp_avg_sq, void* parameters,
                         const int64_t* segment_ends, const float* weight_decays, int64_t num_segments,
                         const float* plan, int64_t num_elements, double lr, double beta1, double beta2, double eps,
                         int gradient_dtype, int parameter_dtype, void* stream);

}  // extern "C"
