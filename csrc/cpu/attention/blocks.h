// Attention of a block of rows over a vector type (common/lanes.h). A row's operations and their order are the same
// whatever rows stand beside it: only which rows share a load differs.
// Everything is in an unnamed namespace: each instruction set's file has copies of its own.
#pragma once

#include <cstdint>

#include "../common/lanes.h"
#include "kernels.h"

namespace codex {
namespace {

// What a block computes in: queries and sums [rows, D], scores [rows, stride], a score for each position that a row has,
// the prompt's first.
struct Scratch {
  float* queries;
  float* sums;
  float* scores;
  int64_t stride;
};

// The first position that a row of this length sees.
template <class Stored>
int64_t first_seen(const AttentionBlock<Stored>& block, int64_t length) {
  const int64_t left_behind = block.prompt_length + length - block.window;
  return block.window > 0 && left_behind > 0 ? left_behind : 0;
}

template <class Lanes, class Stored>
float product(const float* one, const Stored* other, int64_t size) {
  auto total = Lanes::all(0.0f), second = total;
  int64_t i = 0;
  for (; i + 2 * Lanes::kWidth <= size; i += 2 * Lanes::kWidth) {
    total = Lanes::multiply_add(Lanes::load(one + i), Lanes::load(other + i), total);
    second = Lanes::multiply_add(Lanes::load(one + i + Lanes::kWidth), Lanes::load(other + i + Lanes::kWidth), second);
  }
  for (; i + Lanes::kWidth <= size; i += Lanes::kWidth) {
    total = Lanes::multiply_add(Lanes::load(one + i), Lanes::load(other + i), total);
  }
  float sum = Lanes::sum(Lanes::add(total, second));
  for (; i < size; ++i) sum += one[i] * OneLane::load(other + i);
  return sum;
}

// Scores of kRows rows at the prompt's positions from `from` on: two vectors of positions at a time.
template <class Lanes, int kRows, class Stored>
void score_prompt(const AttentionBlock<Stored>& block, int64_t row, int64_t from, const Scratch& scratch) {
  constexpr int64_t kStep = 2 * Lanes::kWidth;
  static_assert(kPromptMultiple % kStep == 0, "a step ends within the prompt's room");
  const float* const queries = scratch.queries + row * block.head_size;
  for (int64_t position = from / kStep * kStep; position < block.prompt_length; position += kStep) {
    typename Lanes::Floats sums[kRows][2];
    for (int i = 0; i < kRows; ++i) sums[i][0] = sums[i][1] = Lanes::all(0.0f);
    const Stored* keys = block.prompt_keys + position;
    for (int64_t channel = 0; channel < block.head_size; ++channel, keys += block.room) {
      const auto left = Lanes::load(keys), right = Lanes::load(keys + Lanes::kWidth);
      for (int i = 0; i < kRows; ++i) {
        const auto query = Lanes::all(queries[i * block.head_size + channel]);
        sums[i][0] = Lanes::multiply_add(query, left, sums[i][0]);
        sums[i][1] = Lanes::multiply_add(query, right, sums[i][1]);
      }
    }
    float* const to = scratch.scores + row * scratch.stride + position;
    for (int i = 0; i < kRows; ++i) {
      Lanes::store(to + i * scratch.stride, sums[i][0]);
      Lanes::store(to + i * scratch.stride + Lanes::kWidth, sums[i][1]);
    }
  }
}

// weights times kVectors vectors of values, for positions from .. to, added to `sums`.
template <class Lanes, int kRows, int kVectors, class Stored>
void add_values(const Stored* values, int64_t stride, const float* weights, int64_t weights_stride, int64_t from,
                int64_t to, float* sums, int64_t sums_stride) {
  typename Lanes::Floats totals[kRows][kVectors];
  for (int i = 0; i < kRows; ++i) {
    for (int k = 0; k < kVectors; ++k) totals[i][k] = Lanes::load(sums + i * sums_stride + k * Lanes::kWidth);
  }
  for (int64_t position = from; position < to; ++position) {
    typename Lanes::Floats numbers[kVectors];
    for (int k = 0; k < kVectors; ++k) numbers[k] = Lanes::load(values + position * stride + k * Lanes::kWidth);
    for (int i = 0; i < kRows; ++i) {
      const auto weight = Lanes::all(weights[i * weights_stride + position]);
      for (int k = 0; k < kVectors; ++k) totals[i][k] = Lanes::multiply_add(weight, numbers[k], totals[i][k]);
    }
  }
  for (int i = 0; i < kRows; ++i) {
    for (int k = 0; k < kVectors; ++k) Lanes::store(sums + i * sums_stride + k * Lanes::kWidth, totals[i][k]);
  }
}

// The same for all D channels: kVectors at a time, then one, then single ones.
template <class Lanes, int kRows, int kVectors, class Stored>
void add_all_values(const Stored* values, int64_t stride, const float* weights, int64_t weights_stride, int64_t from,
                    int64_t to, float* sums, int64_t head_size) {
  constexpr int64_t kWidth = Lanes::kWidth;
  int64_t i = 0;
  for (; i + kVectors * kWidth <= head_size; i += kVectors * kWidth) {
    add_values<Lanes, kRows, kVectors>(values + i, stride, weights, weights_stride, from, to, sums + i, head_size);
  }
  for (; i + kWidth <= head_size; i += kWidth) {
    add_values<Lanes, kRows, 1>(values + i, stride, weights, weights_stride, from, to, sums + i, head_size);
  }
  for (; i < head_size; ++i) {
    add_values<OneLane, kRows, 1>(values + i, stride, weights, weights_stride, from, to, sums + i, head_size);
  }
}

// In place: exp(score - largest). Their sum.
template <class Lanes>
float exponentials(float* scores, int64_t size, float largest) {
  auto total = Lanes::all(0.0f);
  int64_t i = 0;
  for (; i + Lanes::kWidth <= size; i += Lanes::kWidth) {
    const auto powers = exponential_to_88<Lanes>(Lanes::subtract(Lanes::load(scores + i), Lanes::all(largest)));
    Lanes::store(scores + i, powers);
    total = Lanes::add(total, powers);
  }
  float sum = Lanes::sum(total);
  for (; i < size; ++i) sum += scores[i] = exponential_to_88<OneLane>(scores[i] - largest);
  return sum;
}

// One row's own keys, and the softmax over all that it sees, not yet divided by the sum, which is returned.
template <class Lanes, class Stored>
float weigh(const AttentionBlock<Stored>& block, int64_t row, const Scratch& scratch) {
  const int64_t length = block.lengths[row], from = first_seen(block, length), end = block.prompt_length + length;
  const float* const query = scratch.queries + row * block.head_size;
  float* const scores = scratch.scores + row * scratch.stride;
  const Stored* const keys = block.keys + row * block.row_stride;
  for (int64_t position = from > block.prompt_length ? from : block.prompt_length; position < end; ++position) {
    const Stored* const key = keys + (position - block.prompt_length) * block.position_stride;
    scores[position] = product<Lanes>(query, key, block.head_size);
  }
  return exponentials<Lanes>(scores + from, end - from, largest_of<Lanes>(scores + from, end - from));
}

// One row's own values, and the end: its sums over the sum of its weights. Without positions: zeros.
template <class Lanes, class Stored>
void finish(const AttentionBlock<Stored>& block, int64_t row, float weight, const Scratch& scratch) {
  const int64_t length = block.lengths[row], from = first_seen(block, length) - block.prompt_length;
  float* const sums = scratch.sums + row * block.head_size;
  const float* const weights = scratch.scores + row * scratch.stride + block.prompt_length;
  add_all_values<Lanes, 1, 4>(block.values + row * block.row_stride, block.position_stride, weights, 0,
                              from > 0 ? from : 0, length, sums, block.head_size);
  const float factor = block.prompt_length + length > 0 ? 1.0f / weight : 0.0f;
  Stored* const to = block.attended + row * block.attended_stride;
  int64_t i = 0;
  for (; i + Lanes::kWidth <= block.head_size; i += Lanes::kWidth) {
    Lanes::store(to + i, Lanes::multiply(Lanes::load(sums + i), Lanes::all(factor)));
  }
  for (; i < block.head_size; ++i) OneLane::store(to + i, sums[i] * factor);
}

// kRows rows from `row` on.
template <class Lanes, int kRows, class Stored>
void attend_rows(const AttentionBlock<Stored>& block, int64_t row, const Scratch& scratch) {
  const int64_t from = first_seen(block, block.lengths[row]), size = block.head_size;
  float* const sums = scratch.sums + row * size;
  float weights[kRows];
  score_prompt<Lanes, kRows>(block, row, from, scratch);
  for (int i = 0; i < kRows; ++i) weights[i] = weigh<Lanes>(block, row + i, scratch);
  for (int64_t i = 0; i < kRows * size; ++i) sums[i] = 0.0f;
  add_all_values<Lanes, kRows, (kRows > 4 ? 2 : 4)>(block.prompt_values, size, scratch.scores + row * scratch.stride,
                                                    scratch.stride, from, block.prompt_length, sums, size);
  for (int i = 0; i < kRows; ++i) finish<Lanes>(block, row + i, weights[i], scratch);
}

template <class Lanes, class Stored>
void attend(const AttentionBlock<Stored>& block, float* floats, int64_t scores_stride) {
  const int64_t size = kBlockRows * block.head_size;
  const Scratch scratch{floats, floats + size, floats + 2 * size, scores_stride};
  for (int64_t row = 0; row < block.num_rows; ++row) {
    for (int64_t i = 0; i < block.head_size; ++i) {
      scratch.queries[row * block.head_size + i] =
          OneLane::load(block.queries + row * block.query_stride + i) * block.scale;
    }
  }
  int64_t row = 0;
  for (; row + 8 <= block.num_rows; row += 8) attend_rows<Lanes, 8>(block, row, scratch);
  for (; row + 4 <= block.num_rows; row += 4) attend_rows<Lanes, 4>(block, row, scratch);
  for (; row < block.num_rows; ++row) attend_rows<Lanes, 1>(block, row, scratch);
}

}  // namespace
}  // namespace codex
