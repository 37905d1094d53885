#include "rows.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <thread>
#include <type_traits>
#include <vector>

#include "kernels.h"

namespace codex {
namespace {

// A thread of its own is not worth less work than this.
constexpr int64_t kElementsAThread = 1 << 15;

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

// Rows are shared evenly; a row's result does not depend on who makes it.
template <class Work>
void over_rows(int64_t num_rows, int64_t num_columns, int num_threads, const Work& work) {
  const int64_t worth = num_rows * num_columns / kElementsAThread + 1;
  const int64_t shares = std::max<int64_t>(1, std::min({static_cast<int64_t>(num_threads), worth, num_rows}));
  const auto share = [&](int64_t number) { work(num_rows * number / shares, num_rows * (number + 1) / shares); };
  std::vector<std::thread> threads;
  for (int64_t number = 1; number < shares; ++number) threads.emplace_back(share, number);
  share(0);
  for (std::thread& thread : threads) thread.join();
}

// Calls `work(kernels, zero)` for the element type; `zero` has it.
template <class Work>
void with_kernels(Element element, Instructions instructions, const Work& work) {
  if (element == Element::kBfloat16) {
    work(kernels_for<Bfloat16>(instructions), Bfloat16{});
  } else {
    work(kernels_for<float>(instructions), float{});
  }
}

template <class Stored>
Stored* row_of(const Matrix& matrix, int64_t row) {
  return static_cast<Stored*>(matrix.data) + row * matrix.stride;
}

}  // namespace

void row_statistics(const Matrix& logits, float* largest, float* sums, Workers workers) {
  with_kernels(logits.element, workers.instructions, [&](const auto& kernels, auto zero) {
    using Stored = decltype(zero);
    over_rows(logits.num_rows, logits.num_columns, workers.num_threads, [&](int64_t from, int64_t to) {
      for (int64_t i = from; i < to; ++i) {
        kernels.statistics(row_of<Stored>(logits, i), logits.num_columns, 1.0f, largest + i, sums + i);
      }
    });
  });
}

void cross_entropy_gradient(const Matrix& logits, int64_t num_padded, const int64_t* labels, const float* log_sums,
                            const float* gradients, Workers workers) {
  with_kernels(logits.element, workers.instructions, [&](const auto& kernels, auto zero) {
    using Stored = decltype(zero);
    over_rows(logits.num_rows, logits.num_columns, workers.num_threads, [&](int64_t from, int64_t to) {
      for (int64_t i = from; i < to; ++i) {
        Stored* const row = row_of<Stored>(logits, i);
        kernels.cross_entropy_gradient(row, logits.num_columns, labels[i], log_sums[i], gradients[i]);
        std::fill(row + logits.num_columns, row + num_padded, Stored{});
      }
    });
  });
}

void gelu(const Matrix& in, const Matrix& out, Workers workers) {
  with_kernels(in.element, workers.instructions, [&](const auto& kernels, auto zero) {
    using Stored = decltype(zero);
    over_rows(in.num_rows, in.num_columns, workers.num_threads, [&](int64_t from, int64_t to) {
      for (int64_t i = from; i < to; ++i) {
        kernels.gelu(row_of<Stored>(in, i), in.num_columns, row_of<Stored>(out, i));
      }
    });
  });
}

void gelu_gradient(const Matrix& in, const Matrix& out_gradient, const Matrix& in_gradient, Workers workers) {
  with_kernels(in.element, workers.instructions, [&](const auto& kernels, auto zero) {
    using Stored = decltype(zero);
    over_rows(in.num_rows, in.num_columns, workers.num_threads, [&](int64_t from, int64_t to) {
      for (int64_t i = from; i < to; ++i) {
        kernels.gelu_gradient(row_of<Stored>(in, i), row_of<Stored>(out_gradient, i), in.num_columns,
                              row_of<Stored>(in_gradient, i));
      }
    });
  });
}

void causal_softmax(const Matrix& scores, int64_t num_queries, int64_t first_key, float scale, Workers workers) {
  with_kernels(scores.element, workers.instructions, [&](const auto& kernels, auto zero) {
    using Stored = decltype(zero);
    over_rows(scores.num_rows, scores.num_columns, workers.num_threads, [&](int64_t from, int64_t to) {
      for (int64_t i = from; i < to; ++i) {
        Stored* const row = row_of<Stored>(scores, i);
        const int64_t seen = std::min(first_key + i % num_queries + 1, scores.num_columns);
        kernels.softmax(row, seen, scale);
        std::fill(row + seen, row + scores.num_columns, Stored{});
      }
    });
  });
}

void causal_softmax_gradient(const Matrix& probabilities, const Matrix& gradient, int64_t num_queries,
                             int64_t first_key, float scale, Workers workers) {
  with_kernels(gradient.element, workers.instructions, [&](const auto& kernels, auto zero) {
    using Stored = decltype(zero);
    over_rows(gradient.num_rows, gradient.num_columns, workers.num_threads, [&](int64_t from, int64_t to) {
      for (int64_t i = from; i < to; ++i) {
        Stored* const row = row_of<Stored>(gradient, i);
        const int64_t seen = std::min(first_key + i % num_queries + 1, gradient.num_columns);
        kernels.softmax_gradient(row_of<Stored>(probabilities, i), row, seen, scale);
        std::fill(row + seen, row + gradient.num_columns, Stored{});
      }
    });
  });
}

}  // namespace codex
