// The rows' operations with AVX2: eight floats a register. Called only where the processor has it.
#if defined(__x86_64__)
#include "../common/target_avx2.h"

#include "../common/lanes_avx2.h"
#include "blocks.h"

namespace codex {

extern const RowKernels<float> kFloatRowsAvx2 = row_kernels<Avx2, float>();
extern const RowKernels<Bfloat16> kBfloat16RowsAvx2 = row_kernels<Avx2, Bfloat16>();

}  // namespace codex

#include "../common/end_target.h"
#endif
