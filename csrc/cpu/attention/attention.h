// Attention of many rows, one new position each, that continue prompts which several of them share: one pass over the
// prompt's keys and values for every eight rows, and over each row's own. Arithmetic is fp32, the result is rounded once.
// A row's result depends on that row and its prompt alone: not on the other rows, nor on threads.
// Twin: shared_prefix_attention of megatron_codex/ops/shared_prefix.py.
#pragma once

#include <cstdint>

#include "../common/elements.h"
#include "../common/workers.h"

namespace codex {

// N rows, A heads, D head_size, P prompts, S room of a prompt (a multiple of 32; what lies beyond its length is finite).
// Strides are in elements; the channels of a head lie side by side.
struct SharedPrefixAttention {
  Element element;
  int64_t num_rows;
  int64_t num_heads;
  int64_t head_size;
  const void* queries;  // [N, A, D]
  int64_t query_row_stride;
  int64_t query_head_stride;
  const void* prompt_keys;    // [P, A, D, S], no gaps
  const void* prompt_values;  // [P, A, S, D], no gaps
  int64_t room;
  const int32_t* prompt_lengths;  // [P]
  const int64_t* prompt_of_row;   // [N], rows of a prompt side by side
  const void* keys;               // own ones, as their strides say
  const void* values;
  int64_t row_stride;
  int64_t position_stride;
  int64_t head_stride;
  const int32_t* lengths;  // [N], own positions with keys
  int64_t window;          // each sees this many of its positions, prompt and own, the last; 0: all
  float scale;             // of the scores
  void* attended;          // [N, A, D], no gaps
};

void shared_prefix_attention(const SharedPrefixAttention& given, Workers workers);

}  // namespace codex
