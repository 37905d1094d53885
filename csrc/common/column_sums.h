// Partial sums of columns, which several blocks have made, are added in the order of their rows: no atomics, so that
// the result is the same at every run.
#pragma once

#include "launch.h"

namespace codex {

constexpr int kColumnThreads = 128;

// sums [num_columns] of partials [num_partials, num_columns]; a template, so that several files can have it.
template <int kThreads>
__global__ void __launch_bounds__(kThreads)
    column_sums(const float* partials, float* sums, int num_partials, int64_t num_columns) {
  const int64_t column = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (column >= num_columns) return;
  float sum = 0.0f;
  for (int number = 0; number < num_partials; ++number) sum += partials[number * num_columns + column];
  sums[column] = sum;
}

// No partials give zeros.
inline int add_partials(const float* partials, float* sums, int64_t num_partials, int64_t num_columns, void* stream) {
  return launch(column_sums<kColumnThreads>, {ceil_div(num_columns, kColumnThreads), kColumnThreads, 0, stream},
                partials, sums, static_cast<int>(num_partials), num_columns);
}

}  // namespace codex
