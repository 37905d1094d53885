// Softmax of attention scores: scaled, causal, in a band, without the padding at a row's left.
//
// Shapes: B samples, A heads, Q queries, K keys. scores, probabilities, gradients [B, A, Q, K] dtype, row by row.
// Query q stands at key first_key + q and sees the keys max(left_padding[b], first_key + q - window + 1) .. first_key +
// q, those below K of them. window 0: no band. left_padding [B] (null: none). The others get 0, and are not read; so
// does a query that sees none. Arithmetic is fp32. Limits: B * A * Q < 2^31, K < 2^31.
#pragma once

#include <stdint.h>

#include "../common/status.h"

extern "C" {

// probabilities = softmax(scale * scores); may be the same memory.
int codex_causal_softmax(const void* scores, void* probabilities, const int32_t* left_padding, int64_t batch_size,
                         int64_t num_heads, int64_t num_queries, int64_t num_keys, int64_t first_key, int64_t window,
                         float scale, int dtype, void* stream);

// score_gradients = scale * p * (g - sum of p * g), g being the gradients of the probabilities; may be the same memory
// as g.
int codex_causal_softmax_gradient(const void* probabilities, const void* gradients, void* score_gradients,
                                  const int32_t* left_padding, int64_t batch_size, int64_t num_heads,
                                  int64_t num_queries, int64_t num_keys, int64_t first_key, int64_t window, float scale,
                                  int dtype, void* stream);

}  // extern "C"
