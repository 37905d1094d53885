// Attention beside a shared prompt with AVX2: eight floats a register. Called only where the processor has it.
#if defined(__x86_64__)
#include "../common/target_avx2.h"

#include "../common/lanes_avx2.h"
#include "blocks.h"

namespace codex {

extern const AttentionKernels<float> kFloatAttentionAvx2 = {attend<Avx2, float>};
extern const AttentionKernels<Bfloat16> kBfloat16AttentionAvx2 = {attend<Avx2, Bfloat16>};

}  // namespace codex

#include "../common/end_target.h"
#endif
