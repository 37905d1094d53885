// Attention beside a shared prompt with AVX-512: sixteen floats a register. Called only where the processor has it.
#if defined(__x86_64__)
#include "../common/target_avx512.h"

#include "../common/lanes_avx512.h"
#include "blocks.h"

namespace codex {

extern const AttentionKernels<float> kFloatAttentionAvx512 = {attend<Avx512, float>};
extern const AttentionKernels<Bfloat16> kBfloat16AttentionAvx512 = {attend<Avx512, Bfloat16>};

}  // namespace codex

#include "../common/end_target.h"
#endif
