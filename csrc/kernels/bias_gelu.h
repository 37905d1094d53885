// GELU with tanh (arXiv 1606.08415) of x + bias, and its gradients.
//
// Shapes: N rows, F features. x, y and their gradients [N, F] dtype, row by row; bias [F] dtype.
// Arithmetic is fp32; the order of sums is fixed by the shape alone. Limits: N, F < 2^31.
#pragma once

#include <stdint.h>

#include "../common/status.h"

extern "C" {

// y may be x.
int codex_bias_gelu(const void* x, const void* bias, void* y, int64_t num_rows, int64_t num_features, int dtype,
                    void* stream);

// How many rows of F floats of scratch the gradient needs.
int64_t codex_bias_gelu_num_partials(int64_t num_rows);

// x_gradients (may be y_gradients) in dtype; bias_gradient [F] fp32, unrounded: with sequence parallelism this rank's
// part, which an all-reduce(SUM) completes. partials [num_partials, F] fp32: the scratch.
int codex_bias_gelu_gradient(const void* x, const void* bias, const void* y_gradients, void* x_gradients,
                             float* partials, float* bias_gradient, int64_t num_rows, int64_t num_features, int dtype,
                             void* stream);

}  // extern "C"
