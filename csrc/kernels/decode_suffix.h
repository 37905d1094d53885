// Attention of one query per sample over the keys of that sample alone (what it has generated so far), with its
// log-sum-exp: codex_merge_attn_states joins it with the attention over the prompt that all samples share.
//
// Shapes: B samples, A heads (as many of keys as of queries), D head_size: 64, 80, 96 or 128 (else CODEX_BAD_SIZE).
// queries, attended [B, A, D] dtype; lse [B, A] fp32 (null: not wanted). keys, values: element (sample, position, head,
// d) at sample * sample_stride + position * position_stride + head * head_stride + d, both alike; strides in elements.
// lengths [B]: how many positions have keys, the query's own among them; 0 gives zeros and -inf.
// window: only the last `window` positions are seen; 0: all. Limits: batch * heads < 2^31.
#pragma once

#include <stdint.h>

#include "../common/status.h"

extern "C" int codex_decode_suffix(const void* queries, const void* keys, const void* values, const int32_t* lengths,
                                   void* attended, float* lse, int64_t batch_size, int64_t num_heads, int64_t head_size,
                                   int64_t sample_stride, int64_t position_stride, int64_t head_stride, int64_t window,
                                   float scale, int dtype, void* stream);
