// Layer normalisation (arXiv 1607.06450) over the last dimension, and its gradients.
//
// Shapes: N rows, H hidden. x, y and their gradients [N, H] dtype, row by row; weight, bias [H] dtype; means,
// inverse_deviations [N] fp32: mean and 1 / sqrt(variance + epsilon) of each row.
// Arithmetic is fp32; the order of sums is fixed by the shape alone. Limits: N < 2^31, H <=
// CODEX_LAYER_NORM_MAX_HIDDEN.
#pragma once

#include <stdint.h>

#include "../common/status.h"

enum { CODEX_LAYER_NORM_MAX_HIDDEN = 20480 };  // two rows of fp32 fill the 160 KB that a block of sm_80 can share

extern "C" {

// y may be x, and then x is gone for the gradient.
int codex_layer_norm(const void* x, const void* weight, const void* bias, void* y, float* means,
                     float* inverse_deviations, int64_t num_rows, int64_t hidden_size, float epsilon, int dtype,
                     void* stream);

// How many pairs of rows of H floats of scratch the gradient needs.
int64_t codex_layer_norm_num_partials(int64_t num_rows);

// x_gradients (may be y_gradients) in dtype; weight_and_bias_gradients [2, H] fp32, unrounded: with sequence
// parallelism this rank's part, which one all-reduce(SUM) completes. partials [num_partials, 2, H] fp32: the scratch.
int codex_layer_norm_gradient(const void* x, const void* weight, const float* means, const float* inverse_deviations,
                              const void* y_gradients, void* x_gradients, float* partials,
                              float* weight_and_bias_gradients, int64_t num_rows, int64_t hidden_size, int dtype,
                              void* stream);

}  // extern "C"
