// Element-wise and row-wise parts of a training step, on matrices of fp32 or bf16 that lie row by row: arithmetic is
// fp32, results are rounded once. Matrix products are torch's. Twins: megatron_codex/ops/reference_rows.py.
#pragma once

#include <cstdint>

#include "../common/elements.h"
#include "../common/workers.h"

namespace codex {

// num_columns of num_rows rows, each `stride` elements after the one before it.
struct Matrix {
  void* data;
  Element element;
  int64_t num_rows;
  int64_t num_columns;
  int64_t stride;
};

// Of each row: its largest element, and the sum of exp(element - largest).
void row_statistics(const Matrix& logits, float* largest, float* sums, Workers workers);

// Of each block of block_size columns (the last one of a row may be shorter): its largest element, the sum of
// exp(element - largest), and of exp(scale * (element - largest)). Outputs [num_rows, blocks of a row].
void block_statistics(const Matrix& logits, int64_t block_size, float scale, float* largest, float* sums,
                      float* tempered, Workers workers);

// Cross entropy backwards, in place: logits become (exp(logit - log_sum) - [column is the label]) * gradient of the row.
// Columns from num_columns to num_padded become 0. A label outside the columns (of another rank) is in no column.
void cross_entropy_gradient(const Matrix& logits, int64_t num_padded, const int64_t* labels, const float* log_sums,
                            const float* gradients, Workers workers);

// Both at once, reading and writing the logits once: row_statistics, the label's logit (0 where it is in no column), and
// cross_entropy_gradient with this row's own statistics. For ranks that have the whole vocabulary.
void cross_entropy(const Matrix& logits, int64_t num_padded, const int64_t* labels, const float* gradients,
                   float* largest, float* sums, float* at_labels, Workers workers);

// GELU with tanh (arXiv 1606.08415) of num_columns elements a row.
void gelu(const Matrix& in, const Matrix& out, Workers workers);
void gelu_gradient(const Matrix& in, const Matrix& out_gradient, const Matrix& in_gradient, Workers workers);

// Rows are queries, num_queries of them for each head; query i sees the keys up to first_key + i. In place: scores become
// softmax(scale * score) over the keys seen, 0 beyond.
void causal_softmax(const Matrix& scores, int64_t num_queries, int64_t first_key, float scale, Workers workers);
// In place: the gradient of the probabilities becomes that of the scores before they were scaled.
void causal_softmax_gradient(const Matrix& probabilities, const Matrix& gradient, int64_t num_queries,
                             int64_t first_key, float scale, Workers workers);

}  // namespace codex
