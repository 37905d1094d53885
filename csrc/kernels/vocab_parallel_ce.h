// Cross entropy over one tensor-parallel rank's columns of the vocabulary.
//
// In turn: pieces; all-reduce(MAX) of a copy of `largest`; rescale; all-reduce(SUM) of `sums`; loss; gradient. One rank
// alone leaves out the all-reduces and rescale. Sums are fp32, taken in the same order at every call: bitwise
// repeatable.
//
// Shapes: N rows, V columns on this rank. logits [N, num_padded], row by row, dtype; columns from num_columns on are
// padding of the vocabulary. labels [N]: ids in the whole vocabulary, so this rank has first_column .. first_column +
// num_columns. loss_mask [N]: 0: the row is ignored; null: every row counts. Of an ignored row neither logits nor label
// are read.
// Limits: num_rows < 2^31, num_columns <= num_padded. All pointers are device pointers; streams are cudaStream_t.
#pragma once

#include <stdint.h>

#include "../common/status.h"

extern "C" {

// largest [N] fp32; sums [2, N] fp32: sum of exp(logit - largest), then the label's logit, 0 where another rank has it.
// An ignored row gives -inf, 0, 0. A rank without true columns gives the same.
int codex_ce_pieces(const void* logits, const int64_t* labels, const uint8_t* loss_mask, float* largest, float* sums,
                    int64_t num_rows, int64_t num_columns, int64_t num_padded, int64_t first_column, int dtype,
                    void* stream);

// sums [0, N] *= exp(local_largest - largest), where largest is that of all ranks.
int codex_ce_rescale(float* sums, const float* local_largest, const float* largest, int64_t num_rows, void* stream);

// losses [N], log_ps [N] (null: not wanted), log_sums [N] fp32: -log p(label), log p(label), log of the sum of
// exp(logit). All are 0 in ignored rows; a label outside 0 .. vocabulary of a row that counts gives NaN, never a
// plausible loss.
int codex_ce_loss(const float* largest, const float* sums, const int64_t* labels, const uint8_t* loss_mask,
                  float* losses, float* log_ps, float* log_sums, int64_t num_rows, int64_t vocabulary, void* stream);

// In place: logits become (exp(logit - log_sum) - [column is the label]) * loss_gradients[row]; 0 in padded columns.
// zero_ignored 0: ignored rows stay as they are and must not enter a product; 1: they become 0 without being read.
int codex_ce_gradient(void* logits, const int64_t* labels, const uint8_t* loss_mask, const float* log_sums,
                      const float* loss_gradients, int64_t num_rows, int64_t num_columns, int64_t num_padded,
                      int64_t first_column, int zero_ignored, int dtype, void* stream);

}  // extern "C"
