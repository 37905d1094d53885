// Attention of a few rows of one prompt and head, by instruction set.
#pragma once

#include <cstdint>

#include "../common/elements.h"

namespace codex {

// Most rows of a block: their queries share each load of the prompt's keys and values.
constexpr int kBlockRows = 8;

// Positions that a prompt's keys are read by: its room is a multiple of this.
constexpr int64_t kPromptMultiple = 32;

// num_rows rows (at most kBlockRows) of one prompt, one head of them; with a window all of one length. Strides are in
// elements; D is head_size.
template <class Stored>
struct AttentionBlock {
  const Stored* queries;
  int64_t query_stride;
  const Stored* prompt_keys;    // [D, room]
  const Stored* prompt_values;  // [room, D]
  int64_t room;
  int64_t prompt_length;
  const Stored* keys;  // own ones: a row after row_stride, a position after position_stride
  const Stored* values;
  int64_t row_stride;
  int64_t position_stride;
  const int32_t* lengths;
  int64_t num_rows;
  int64_t head_size;
  int64_t window;
  float scale;
  Stored* attended;
  int64_t attended_stride;
};

// Floats of scratch that a block needs: queries, sums, and a score for each position of each row.
constexpr int64_t scratch_size(int64_t head_size, int64_t room, int64_t max_length) {
  return kBlockRows * (2 * head_size + room + max_length);
}

template <class Stored>
struct AttentionKernels {
  // scores_stride: of the scores in scratch, at least room + the longest of lengths.
  void (*attend)(const AttentionBlock<Stored>& block, float* scratch, int64_t scores_stride);
};

extern const AttentionKernels<float> kFloatAttentionScalar, kFloatAttentionAvx2, kFloatAttentionAvx512;
extern const AttentionKernels<Bfloat16> kBfloat16AttentionScalar, kBfloat16AttentionAvx2, kBfloat16AttentionAvx512;

}  // namespace codex
