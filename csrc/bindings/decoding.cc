// megatron_codex/ops/shared_prefix.py over csrc/kernels/{decode_suffix,merge_attn_states}.cu.
#include "../kernels/decode_suffix.h"
#include "../kernels/merge_attn_states.h"
#include "checked.h"

namespace codex {
namespace {

bool same_places(const Tensor& keys, const Tensor& values) {
  for (int64_t dim = 0; dim < 4; ++dim) {
    if (keys.stride(dim) != values.stride(dim)) return false;
  }
  return keys.stride(3) == 1;
}

std::tuple<Tensor, Tensor> decode_suffix(const Tensor& given_queries, const Tensor& given_keys,
                                         const Tensor& given_values, const Tensor& lengths, int64_t window,
                                         double scale) {
  const Call call("decode_suffix", given_queries);
  const Tensor queries = torch::stable::contiguous(given_queries);
  Tensor keys = given_keys, values = given_values;
  call.check(queries.dim() == 3 && keys.dim() == 4 && values.dim() == 4,
             "queries must be [B, A, D], keys and values [B, S, A, D]");
  for (const Tensor& held : {keys, values}) {
    call.check(held.scalar_type() == queries.scalar_type() && held.device() == queries.device(),
               "keys and values must be of the queries' dtype and device");
    call.check(held.size(0) == queries.size(0) && held.size(1) == keys.size(1) && held.size(2) == queries.size(1) &&
                   held.size(3) == queries.size(2),
               "keys and values must have the queries' samples, heads and head size");
  }
  call.check(is(lengths, ScalarType::Int, queries) && lengths.numel() == queries.size(0),
             "lengths must be int32, one a sample");
  if (!same_places(keys, values)) {
    keys = torch::stable::contiguous(keys);
    values = torch::stable::contiguous(values);
  }
  Tensor attended = torch::stable::new_empty(queries, queries.sizes());
  Tensor lse = fp32(queries, {queries.size(0), queries.size(1)});
  call.done(codex_decode_suffix(queries.const_data_ptr(), keys.const_data_ptr(), values.const_data_ptr(),
                                read<int32_t>(lengths), attended.mutable_data_ptr(), write<float>(lse), queries.size(0),
                                queries.size(1), queries.size(2), keys.stride(0), keys.stride(1), keys.stride(2),
                                window, static_cast<float>(scale), dtype_of(queries), call.stream()));
  return {attended, lse};
}

std::tuple<Tensor, Tensor> merge_attn_states(const Tensor& given_first, const Tensor& given_first_lse,
                                             const Tensor& given_second, const Tensor& given_second_lse) {
  const Call call("merge_attn_states", given_first);
  const Tensor first = torch::stable::contiguous(given_first), second = torch::stable::contiguous(given_second);
  const Tensor first_lse = torch::stable::contiguous(given_first_lse);
  const Tensor second_lse = torch::stable::contiguous(given_second_lse);
  call.check(first.dim() >= 1 && like(second, first) && second.numel() == first.numel(), "second must be like first");
  const int64_t head_size = first.size(first.dim() - 1), num_rows = first_lse.numel();
  for (const Tensor& lse : {first_lse, second_lse}) {
    call.check(is(lse, ScalarType::Float, first) && lse.numel() * head_size == first.numel(),
               "the log-sum-exps must be fp32, one a row of first");
  }
  Tensor merged = torch::stable::new_empty(first, first.sizes());
  Tensor merged_lse = torch::stable::new_empty(first_lse, first_lse.sizes());
  call.done(codex_merge_attn_states(first.const_data_ptr(), read<float>(first_lse), second.const_data_ptr(),
                                    read<float>(second_lse), merged.mutable_data_ptr(), write<float>(merged_lse),
                                    num_rows, head_size, dtype_of(first), call.stream()));
  return {merged, merged_lse};
}

}  // namespace
}  // namespace codex

CODEX_KERNELS(m) {
  m.impl("decode_suffix", TORCH_BOX(&codex::decode_suffix));
  m.impl("merge_attn_states", TORCH_BOX(&codex::merge_attn_states));
}
