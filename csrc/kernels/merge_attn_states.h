// Two attentions of the same queries over two sets of keys become the attention over both.
//
// Shapes: R rows (queries x heads), D head_size. first, second, merged [R, D] dtype; their lse [R] fp32: natural
// logarithm of the sum of exp(scaled score), -inf for no keys. A row without keys on either side gives zeros and -inf.
// merged may be first or second, merged_lse (null: not wanted) likewise. Limits: num_rows < 2^31, head_size <= 1024.
#pragma once

#include <stdint.h>

#include "../common/status.h"

extern "C" int codex_merge_attn_states(const void* first, const float* first_lse, const void* second,
                                       const float* second_lse, void* merged, float* merged_lse, int64_t num_rows,
                                       int64_t head_size, int dtype, void* stream);
