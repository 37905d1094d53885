// megatron_codex/ops/cross_entropy.py over csrc/kernels/vocab_parallel_ce.cu. Labels are columns of this rank: the
// kernels' first_column is 0.
#include "../kernels/vocab_parallel_ce.h"

#include "checked.h"

namespace codex {
namespace {

void check_rows(const Call& call, const Tensor& labels, const std::optional<Tensor>& mask, const Tensor& beside,
                int64_t num_rows) {
  call.check(is(labels, ScalarType::Long, beside) && labels.numel() == num_rows, "labels must be int64, one a row");
  call.check(!mask || (is(*mask, ScalarType::Bool, beside) && mask->numel() == num_rows),
             "loss_mask must be bool, one a row");
}

void check_logits(const Call& call, const Tensor& logits, int64_t num_columns) {
  call.check(logits.dim() == 2 && logits.is_contiguous(), "logits must be a matrix, row by row");
  call.check(num_columns >= 0 && num_columns <= logits.size(1), "num_columns must not exceed the logits' columns");
}

std::tuple<Tensor, Tensor> ce_pieces(const Tensor& logits, const Tensor& labels, std::optional<Tensor> mask,
                                     int64_t num_columns) {
  const Call call("ce_pieces", logits);
  const int64_t num_rows = logits.size(0);
  check_logits(call, logits, num_columns);
  check_rows(call, labels, mask, logits, num_rows);
  Tensor largest = fp32(logits, {num_rows}), sums = fp32(logits, {2, num_rows});
  call.done(codex_ce_pieces(logits.const_data_ptr(), read<int64_t>(labels), read<uint8_t>(mask), write<float>(largest),
                            write<float>(sums), num_rows, num_columns, logits.size(1), 0, dtype_of(logits),
                            call.stream()));
  return {largest, sums};
}

void ce_rescale(const Tensor& sums, const Tensor& local_largest, const Tensor& largest) {
  const Call call("ce_rescale_", sums);
  const int64_t num_rows = largest.numel();
  call.check(is(sums, ScalarType::Float, sums) && sums.numel() == 2 * num_rows, "sums must be fp32 [2, rows]");
  call.check(like(local_largest, sums) && like(largest, sums) && local_largest.numel() == num_rows,
             "largest and local_largest must be fp32, one a row");
  call.done(codex_ce_rescale(write<float>(sums), read<float>(local_largest), read<float>(largest), num_rows,
                             call.stream()));
}

std::tuple<Tensor, Tensor> ce_loss(const Tensor& largest, const Tensor& sums, const Tensor& labels,
                                   std::optional<Tensor> mask, int64_t vocabulary) {
  const Call call("ce_loss", largest);
  const int64_t num_rows = largest.numel();
  call.check(is(largest, ScalarType::Float, sums) && like(sums, largest) && sums.numel() == 2 * num_rows,
             "largest [rows] and sums [2, rows] must be fp32");
  check_rows(call, labels, mask, largest, num_rows);
  Tensor losses = fp32(largest, {num_rows}), log_sums = fp32(largest, {num_rows});
  call.done(codex_ce_loss(read<float>(largest), read<float>(sums), read<int64_t>(labels), read<uint8_t>(mask),
                          write<float>(losses), nullptr, write<float>(log_sums), num_rows, vocabulary, call.stream()));
  return {losses, log_sums};
}

void ce_gradient(const Tensor& logits, const Tensor& labels, std::optional<Tensor> mask, const Tensor& log_sums,
                 const Tensor& loss_gradients, int64_t num_columns) {
  const Call call("ce_gradient_", logits);
  const int64_t num_rows = logits.size(0);
  check_logits(call, logits, num_columns);
  check_rows(call, labels, mask, logits, num_rows);
  for (const Tensor& of_rows : {log_sums, loss_gradients}) {
    call.check(is(of_rows, ScalarType::Float, logits) && of_rows.numel() == num_rows,
               "log_sums and loss_gradients must be fp32, one a row");
  }
  call.done(codex_ce_gradient(logits.mutable_data_ptr(), read<int64_t>(labels), read<uint8_t>(mask),
                              read<float>(log_sums), read<float>(loss_gradients), num_rows, num_columns, logits.size(1),
                              0, /*zero_ignored=*/1, dtype_of(logits), call.stream()));
}

}  // namespace
}  // namespace codex

CODEX_KERNELS(m) {
  m.impl("ce_pieces", TORCH_BOX(&codex::ce_pieces));
  m.impl("ce_rescale_", TORCH_BOX(&codex::ce_rescale));
  m.impl("ce_loss", TORCH_BOX(&codex::ce_loss));
  m.impl("ce_gradient_", TORCH_BOX(&codex::ce_gradient));
}
