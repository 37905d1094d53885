// megatron_codex/ops/flat_adam.py over csrc/kernels/flat_adam.cu.
#include "../kernels/flat_adam.h"

#include "checked.h"

namespace codex {
namespace {

Tensor square_sum(const Tensor& gradients) {
  const Call call("flat_adam_square_sum", gradients);
  call.check(gradients.is_contiguous(), "gradients must be contiguous");
  Tensor partials = torch::stable::new_empty(gradients, {codex_flat_adam_num_partials(gradients.numel())},
                                             ScalarType::Double);
  Tensor sum = torch::stable::new_empty(gradients, {1}, ScalarType::Double);
  call.done(codex_flat_adam_square_sum(gradients.const_data_ptr(), write<double>(partials), write<double>(sum),
                                       gradients.numel(), dtype_of(gradients), call.stream()));
  return sum;
}

void plan(const Tensor& square_sum, const Tensor& step, const Tensor& plan, double gradient_scale, double clip_grad,
          double lr, double beta1, double beta2) {
  const Call call("flat_adam_plan_", square_sum);
  call.check(is(square_sum, ScalarType::Double, square_sum) && square_sum.numel() == 1, "square_sum must be fp64 [1]");
  call.check(is(step, ScalarType::Long, square_sum) && step.numel() == 1, "step must be int64 [1]");
  call.check(is(plan, ScalarType::Float, square_sum) && plan.numel() == CODEX_PLAN_SIZE, "plan must be fp32 [5]");
  call.done(codex_flat_adam_plan(read<double>(square_sum), write<int64_t>(step), write<float>(plan), gradient_scale,
                                 clip_grad, lr, beta1, beta2, call.stream()));
}

void step(const Tensor& gradients, const Tensor& master, const Tensor& exp_avg, const Tensor& exp_avg_sq,
          std::optional<Tensor> parameters, const Tensor& segment_ends, const Tensor& weight_decays, const Tensor& plan,
          double lr, double beta1, double beta2, double eps) {
  const Call call("flat_adam_step_", gradients);
  const int64_t num_elements = gradients.numel(), num_segments = segment_ends.numel();
  call.check(gradients.is_contiguous(), "gradients must be contiguous");
  for (const Tensor& held : {master, exp_avg, exp_avg_sq}) {
    call.check(is(held, ScalarType::Float, gradients) && held.numel() == num_elements,
               "weights and means must be fp32, as many as gradients");
  }
  call.check(!parameters || (parameters->is_contiguous() && parameters->numel() == num_elements &&
                             parameters->device() == gradients.device()),
             "parameters must be contiguous, as many as gradients");
  call.check(is(segment_ends, ScalarType::Long, gradients), "segment_ends must be int64");
  call.check(is(weight_decays, ScalarType::Float, gradients) && weight_decays.numel() == num_segments,
             "weight_decays must be fp32, one a segment");
  call.check(is(plan, ScalarType::Float, gradients) && plan.numel() == CODEX_PLAN_SIZE, "plan must be fp32 [5]");
  call.done(codex_flat_adam_step(gradients.const_data_ptr(), write<float>(master), write<float>(exp_avg),
                                 write<float>(exp_avg_sq), parameters ? parameters->mutable_data_ptr() : nullptr,
                                 read<int64_t>(segment_ends), read<float>(weight_decays), num_segments,
                                 read<float>(plan), num_elements, lr, beta1, beta2, eps, dtype_of(gradients),
                                 parameters ? dtype_of(*parameters) : static_cast<int>(CODEX_FLOAT32), call.stream()));
}

}  // namespace
}  // namespace codex

CODEX_KERNELS(m) {
  m.impl("flat_adam_square_sum", TORCH_BOX(&codex::square_sum));
  m.impl("flat_adam_plan_", TORCH_BOX(&codex::plan));
  m.impl("flat_adam_step_", TORCH_BOX(&codex::step));
}
