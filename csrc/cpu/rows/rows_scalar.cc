// The rows' operations in plain C++.
#include "blocks.h"

namespace codex {

const RowKernels<float> kFloatRowsScalar = row_kernels<OneLane, float>();
const RowKernels<Bfloat16> kBfloat16RowsScalar = row_kernels<OneLane, Bfloat16>();

}  // namespace codex
