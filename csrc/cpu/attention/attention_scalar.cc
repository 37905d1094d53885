// Attention beside a shared prompt in plain C++.
#include "blocks.h"

namespace codex {

const AttentionKernels<float> kFloatAttentionScalar = {attend<OneLane, float>};
const AttentionKernels<Bfloat16> kBfloat16AttentionScalar = {attend<OneLane, Bfloat16>};

}  // namespace codex
