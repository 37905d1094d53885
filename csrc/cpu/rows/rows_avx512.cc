// The rows' operations with AVX-512: sixteen floats a register. Called only where the processor has it.
#if defined(__x86_64__)
#include "../common/target_avx512.h"

#include "../common/lanes_avx512.h"
#include "blocks.h"

namespace codex {

extern const RowKernels<float> kFloatRowsAvx512 = row_kernels<Avx512, float>();
extern const RowKernels<Bfloat16> kBfloat16RowsAvx512 = row_kernels<Avx512, Bfloat16>();

}  // namespace codex

#include "../common/end_target.h"
#endif
