// One row of each operation in rows.h, by instruction set.
#pragma once

#include <cstdint>

#include "../common/elements.h"

namespace codex {

// What ranks join: a row's largest logit, the sum of exp(logit - largest), and the label's logit (0: not here).
struct RowPieces {
  float* largest;
  float* sum;
  float* at_label;
};

template <class Stored>
struct RowKernels {
  void (*statistics)(const Stored* row, int64_t size, float scale, float* largest, float* sum);
  void (*tempered_statistics)(const Stored* row, int64_t size, float scale, float* largest, float* sum, float* tempered);
  void (*cross_entropy_gradient)(Stored* row, int64_t size, int64_t label, float log_sum, float gradient);
  // powers: room for `size` floats; for fp32 it may be the row.
  void (*cross_entropy)(Stored* row, int64_t size, int64_t label, float gradient, float* powers, RowPieces pieces);
  void (*gelu)(const Stored* in, int64_t size, Stored* out);
  void (*gelu_gradient)(const Stored* in, const Stored* out_gradient, int64_t size, Stored* in_gradient);
  void (*softmax)(Stored* row, int64_t size, float scale);
  void (*softmax_gradient)(const Stored* probabilities, Stored* gradient, int64_t size, float scale);
};

extern const RowKernels<float> kFloatRowsScalar, kFloatRowsAvx2, kFloatRowsAvx512;
extern const RowKernels<Bfloat16> kBfloat16RowsScalar, kBfloat16RowsAvx2, kBfloat16RowsAvx512;

}  // namespace codex
