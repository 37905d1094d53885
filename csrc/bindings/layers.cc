// megatron_codex/ops/{bias_gelu,layer_norm,softmax}.py over csrc/kernels/{bias_gelu,layer_norm,causal_softmax}.cu.
#include "../kernels/bias_gelu.h"
#include "../kernels/causal_softmax.h"
#include "../kernels/layer_norm.h"
#include "checked.h"

namespace codex {
namespace {

int64_t last_size(const Tensor& x) { return x.dim() ? x.size(x.dim() - 1) : 1; }

int64_t num_rows_of(const Tensor& x) { return last_size(x) ? x.numel() / last_size(x) : 0; }

Tensor like_rows(const Tensor& x) { return torch::stable::new_empty(x, x.sizes()); }

Tensor bias_gelu(const Tensor& given, std::optional<Tensor> bias) {
  const Call call("bias_gelu", given);
  const Tensor x = torch::stable::contiguous(given);
  const Tensor added = bias ? *bias : torch::stable::new_zeros(x, {last_size(x)});
  call.check(like(added, x) && added.numel() == last_size(x), "bias must be of x's dtype and last dimension");
  Tensor y = like_rows(x);
  call.done(codex_bias_gelu(x.const_data_ptr(), added.const_data_ptr(), y.mutable_data_ptr(), num_rows_of(x),
                            last_size(x), dtype_of(x), call.stream()));
  return y;
}

std::tuple<Tensor, Tensor> bias_gelu_gradient(const Tensor& given, std::optional<Tensor> bias,
                                              const Tensor& given_gradient) {
  const Call call("bias_gelu_gradient", given);
  const Tensor x = torch::stable::contiguous(given), out_gradient = torch::stable::contiguous(given_gradient);
  const Tensor added = bias ? *bias : torch::stable::new_zeros(x, {last_size(x)});
  call.check(like(added, x) && added.numel() == last_size(x), "bias must be of x's dtype and last dimension");
  call.check(like(out_gradient, x) && out_gradient.numel() == x.numel(), "out_gradient must be like x");
  const int64_t num_rows = num_rows_of(x), num_features = last_size(x);
  Tensor in_gradient = like_rows(x), bias_gradient = fp32(x, {num_features});
  Tensor partials = fp32(x, {codex_bias_gelu_num_partials(num_rows), num_features});
  call.done(codex_bias_gelu_gradient(x.const_data_ptr(), added.const_data_ptr(), out_gradient.const_data_ptr(),
                                     in_gradient.mutable_data_ptr(), write<float>(partials),
                                     write<float>(bias_gradient), num_rows, num_features, dtype_of(x), call.stream()));
  return {in_gradient, bias ? bias_gradient : fp32(x, {0})};
}

std::tuple<Tensor, Tensor, Tensor> layer_norm(const Tensor& given, const Tensor& weight, const Tensor& bias,
                                              double epsilon) {
  const Call call("layer_norm", given);
  const Tensor x = torch::stable::contiguous(given);
  const int64_t num_rows = num_rows_of(x), hidden_size = last_size(x);
  call.check(like(weight, x) && like(bias, x) && weight.numel() == hidden_size && bias.numel() == hidden_size,
             "weight and bias must be of x's dtype and last dimension");
  Tensor y = like_rows(x), means = fp32(x, {num_rows}), inverse_deviations = fp32(x, {num_rows});
  call.done(codex_layer_norm(x.const_data_ptr(), weight.const_data_ptr(), bias.const_data_ptr(), y.mutable_data_ptr(),
                             write<float>(means), write<float>(inverse_deviations), num_rows, hidden_size,
                             static_cast<float>(epsilon), dtype_of(x), call.stream()));
  return {y, means, inverse_deviations};
}

std::tuple<Tensor, Tensor> layer_norm_gradient(const Tensor& given, const Tensor& weight, const Tensor& means,
                                               const Tensor& inverse_deviations, const Tensor& given_gradient) {
  const Call call("layer_norm_gradient", given);
  const Tensor x = torch::stable::contiguous(given), out_gradient = torch::stable::contiguous(given_gradient);
  const int64_t num_rows = num_rows_of(x), hidden_size = last_size(x);
  call.check(like(weight, x) && weight.numel() == hidden_size, "weight must be of x's dtype and last dimension");
  call.check(like(out_gradient, x) && out_gradient.numel() == x.numel(), "out_gradient must be like x");
  for (const Tensor& of_rows : {means, inverse_deviations}) {
    call.check(is(of_rows, ScalarType::Float, x) && of_rows.numel() == num_rows, "statistics must be fp32, one a row");
  }
  Tensor in_gradient = like_rows(x), of_parameters = fp32(x, {2, hidden_size});
  Tensor partials = fp32(x, {codex_layer_norm_num_partials(num_rows), 2, hidden_size});
  call.done(codex_layer_norm_gradient(x.const_data_ptr(), weight.const_data_ptr(), read<float>(means),
                                      read<float>(inverse_deviations), out_gradient.const_data_ptr(),
                                      in_gradient.mutable_data_ptr(), write<float>(partials),
                                      write<float>(of_parameters), num_rows, hidden_size, dtype_of(x), call.stream()));
  return {in_gradient, of_parameters};
}

void check_scores(const Call& call, const Tensor& scores, const std::optional<Tensor>& padding) {
  call.check(scores.dim() == 4, "scores must have four dimensions: samples, heads, queries, keys");
  call.check(!padding || (is(*padding, ScalarType::Int, scores) && padding->numel() == scores.size(0)),
             "left_padding must be int32, one a sample");
}

Tensor causal_softmax(const Tensor& given, std::optional<Tensor> padding, int64_t first_key, int64_t window,
                      double scale) {
  const Call call("causal_softmax", given);
  const Tensor scores = torch::stable::contiguous(given);
  check_scores(call, scores, padding);
  Tensor probabilities = like_rows(scores);
  call.done(codex_causal_softmax(scores.const_data_ptr(), probabilities.mutable_data_ptr(), read<int32_t>(padding),
                                 scores.size(0), scores.size(1), scores.size(2), scores.size(3), first_key, window,
                                 static_cast<float>(scale), dtype_of(scores), call.stream()));
  return probabilities;
}

Tensor causal_softmax_gradient(const Tensor& given, const Tensor& given_gradient, std::optional<Tensor> padding,
                               int64_t first_key, int64_t window, double scale) {
  const Call call("causal_softmax_gradient", given);
  const Tensor probabilities = torch::stable::contiguous(given);
  const Tensor gradient = torch::stable::contiguous(given_gradient);
  check_scores(call, probabilities, padding);
  call.check(like(gradient, probabilities) && gradient.numel() == probabilities.numel(),
             "gradient must be like probabilities");
  Tensor of_scores = like_rows(probabilities);
  call.done(codex_causal_softmax_gradient(probabilities.const_data_ptr(), gradient.const_data_ptr(),
                                          of_scores.mutable_data_ptr(), read<int32_t>(padding), probabilities.size(0),
                                          probabilities.size(1), probabilities.size(2), probabilities.size(3),
                                          first_key, window, static_cast<float>(scale), dtype_of(probabilities),
                                          call.stream()));
  return of_scores;
}

}  // namespace
}  // namespace codex

CODEX_KERNELS(m) {
  m.impl("bias_gelu", TORCH_BOX(&codex::bias_gelu));
  m.impl("bias_gelu_gradient", TORCH_BOX(&codex::bias_gelu_gradient));
  m.impl("layer_norm", TORCH_BOX(&codex::layer_norm));
  m.impl("layer_norm_gradient", TORCH_BOX(&codex::layer_norm_gradient));
  m.impl("causal_softmax", TORCH_BOX(&codex::causal_softmax));
  m.impl("causal_softmax_gradient", TORCH_BOX(&codex::causal_softmax_gradient));
}
