#include "rows.h"

#include <algorithm>
#include <stdexcept>
#include <type_traits>
#include <vector>

#include "kernels.h"

namespace codex {
namespace {

template <class Stored>
const RowKernels<Stored>& kernels_for(Instructions instructions) {
  if (!has_instructions(instructions)) throw std::invalid_argument("this processor lacks these instructions");
  constexpr bool kHalf = std::is_same_v<Stored, Bfloat16>;
#if defined(__x86_64__)
  if constexpr (kHalf) {
    if (instructions == Instructions::kAvx512) return kBfloat16RowsAvx512;
    if (instructions == Instructions::kAvx2) return kBfloat16RowsAvx2;
  } else {
    if (instructions == Instructions::kAvx512) return kFloatRowsAvx512;
    if (instructions == Instructions::kAvx2) return kFloatRowsAvx2;
  }
#endif
  if constexpr (kHalf) {
    return kBfloat16RowsScalar;
  } else {
    return kFloatRowsScalar;
  }
}

template <class Stored>
Stored* row_of(const Matrix& matrix, int64_t row) {
  return static_cast<Stored*>(matrix.data) + row * matrix.stride;
}

// Calls `work(kernels, zero, row)` for each row; `zero` has the matrix's element type.
template <class Work>
void for_each_row(const Matrix& matrix, Workers workers, const Work& work) {
  const auto with = [&](const auto& kernels, auto zero) {
    share_out(matrix.num_rows, matrix.num_rows * matrix.num_columns, workers, [&](int64_t from, int64_t to) {
      for (int64_t row = from; row < to; ++row) work(kernels, zero, row);
    });
  };
  if (matrix.element == Element::kBfloat16) {
    with(kernels_for<Bfloat16>(workers.instructions), Bfloat16{});
  } else {
    with(kernels_for<float>(workers.instructions), float{});
  }
}

// Of a row of scores: how many keys its query sees.
int64_t keys_seen(const Matrix& scores, int64_t row, int64_t num_queries, int64_t first_key) {
  return std::min(first_key + row % num_queries + 1, scores.num_columns);
}

// Room for a row's exponentials: itself, or what its thread keeps for all of its rows.
float* powers_of(float* row, int64_t) { return row; }

float* powers_of(Bfloat16*, int64_t size) {
  thread_local std::vector<float> room;
  if (room.size() < static_cast<size_t>(size)) room.resize(size);
  return room.data();
}

}  // namespace

void row_statistics(const Matrix& logits, float* largest, float* sums, Workers workers) {
  for_each_row(logits, workers, [&](const auto& kernels, auto zero, int64_t i) {
    using Stored = decltype(zero);
    kernels.statistics(row_of<Stored>(logits, i), logits.num_columns, 1.0f, largest + i, sums + i);
  });
}

void block_statistics(const Matrix& logits, int64_t block_size, float scale, float* largest, float* sums,
                      float* tempered, Workers workers) {
  const int64_t num_blocks = (logits.num_columns + block_size - 1) / block_size;
  for_each_row(logits, workers, [&](const auto& kernels, auto zero, int64_t i) {
    const auto* const row = row_of<decltype(zero)>(logits, i);
    for (int64_t block = 0; block < num_blocks; ++block) {
      const int64_t from = block * block_size, to = i * num_blocks + block;
      const int64_t size = std::min(block_size, logits.num_columns - from);
      kernels.tempered_statistics(row + from, size, scale, largest + to, sums + to, tempered + to);
    }
  });
}

void cross_entropy_gradient(const Matrix& logits, int64_t num_padded, const int64_t* labels, const float* log_sums,
                            const float* gradients, Workers workers) {
  for_each_row(logits, workers, [&](const auto& kernels, auto zero, int64_t i) {
    auto* const row = row_of<decltype(zero)>(logits, i);
    kernels.cross_entropy_gradient(row, logits.num_columns, labels[i], log_sums[i], gradients[i]);
    std::fill(row + logits.num_columns, row + num_padded, zero);
  });
}

void cross_entropy(const Matrix& logits, int64_t num_padded, const int64_t* labels, const float* gradients,
                   float* largest, float* sums, float* at_labels, Workers workers) {
  for_each_row(logits, workers, [&](const auto& kernels, auto zero, int64_t i) {
    auto* const row = row_of<decltype(zero)>(logits, i);
    const RowPieces pieces = {largest + i, sums + i, at_labels + i};
    kernels.cross_entropy(row, logits.num_columns, labels[i], gradients[i], powers_of(row, logits.num_columns), pieces);
    std::fill(row + logits.num_columns, row + num_padded, zero);
  });
}

void gelu(const Matrix& in, const Matrix& out, Workers workers) {
  for_each_row(in, workers, [&](const auto& kernels, auto zero, int64_t i) {
    using Stored = decltype(zero);
    kernels.gelu(row_of<Stored>(in, i), in.num_columns, row_of<Stored>(out, i));
  });
}

void gelu_gradient(const Matrix& in, const Matrix& out_gradient, const Matrix& in_gradient, Workers workers) {
  for_each_row(in, workers, [&](const auto& kernels, auto zero, int64_t i) {
    using Stored = decltype(zero);
    kernels.gelu_gradient(row_of<Stored>(in, i), row_of<Stored>(out_gradient, i), in.num_columns,
                          row_of<Stored>(in_gradient, i));
  });
}

void causal_softmax(const Matrix& scores, int64_t num_queries, int64_t first_key, float scale, Workers workers) {
  for_each_row(scores, workers, [&](const auto& kernels, auto zero, int64_t i) {
    auto* const row = row_of<decltype(zero)>(scores, i);
    const int64_t seen = keys_seen(scores, i, num_queries, first_key);
    kernels.softmax(row, seen, scale);
    std::fill(row + seen, row + scores.num_columns, zero);
  });
}

void causal_softmax_gradient(const Matrix& probabilities, const Matrix& gradient, int64_t num_queries,
                             int64_t first_key, float scale, Workers workers) {
  for_each_row(gradient, workers, [&](const auto& kernels, auto zero, int64_t i) {
    using Stored = decltype(zero);
    Stored* const row = row_of<Stored>(gradient, i);
    const int64_t seen = keys_seen(gradient, i, num_queries, first_key);
    kernels.softmax_gradient(row_of<Stored>(probabilities, i), row, seen, scale);
    std::fill(row + seen, row + gradient.num_columns, zero);
  });
}

}  // namespace codex
