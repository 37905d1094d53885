// What the bindings share: torch tensors into the plain pointers, sizes and streams of csrc/kernels, checked, through
// torch's stable ABI only (torch/csrc/stable): one binary serves torch 2.13 and later ones. The schemas are
// megatron_codex/ops/registered.py's; here are CUDA kernels for their names.
//
// With CODEX_ON_CPU the same bindings take CPU tensors to kernels that run on fibers (csrc/common/on_cpu), for tests, in a
// namespace of their own.
#pragma once

#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <optional>
#include <tuple>

#include "../common/status.h"

#if defined(CODEX_ON_CPU)
#define CODEX_KERNELS(m) STABLE_TORCH_LIBRARY_IMPL(megatron_codex_on_cpu, CPU, m)
#else
#define CODEX_KERNELS(m) STABLE_TORCH_LIBRARY_IMPL(megatron_codex, CUDA, m)
#endif

namespace codex {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// The device and stream of a call; the device is the current one while this lives.
class Call {
 public:
#if defined(CODEX_ON_CPU)
  Call(const char* name, const Tensor&) : name_(name) {}
  void* stream() const { return nullptr; }
#else
  Call(const char* name, const Tensor& on)
      : name_(name),
        guard_(on.get_device_index()),
        stream_(torch::stable::accelerator::getCurrentStream(on.get_device_index())) {}
  void* stream() const { return stream_.nativeHandle(); }
#endif

  // The tensor lies row by row; `what` names it.
  void check(bool holds, const char* what) const { STD_TORCH_CHECK(holds, name_, ": ", what); }

  void done(int status) const { STD_TORCH_CHECK(status == CODEX_OK, name_, ": ", status_text(status)); }

 private:
  const char* name_;
#if !defined(CODEX_ON_CPU)
  torch::stable::accelerator::DeviceGuard guard_;
  torch::stable::accelerator::Stream stream_;
#endif
};

// A CodexDtype, or -1, which every entry point refuses.
inline int dtype_of(const Tensor& tensor) {
  switch (tensor.scalar_type()) {
    case ScalarType::Float: return CODEX_FLOAT32;
    case ScalarType::BFloat16: return CODEX_BFLOAT16;
    case ScalarType::Half: return CODEX_FLOAT16;
    default: return -1;
  }
}

inline bool like(const Tensor& tensor, const Tensor& other) {
  return tensor.scalar_type() == other.scalar_type() && tensor.is_contiguous() && tensor.device() == other.device();
}

inline bool is(const Tensor& tensor, ScalarType type, const Tensor& beside) {
  return tensor.scalar_type() == type && tensor.is_contiguous() && tensor.device() == beside.device();
}

inline Tensor fp32(const Tensor& like, std::initializer_list<int64_t> sizes) {
  return torch::stable::new_empty(like, sizes, ScalarType::Float);
}

template <class T>
const T* read(const Tensor& tensor) {
  return static_cast<const T*>(tensor.const_data_ptr());
}

template <class T>
T* write(const Tensor& tensor) {
  return static_cast<T*>(tensor.mutable_data_ptr());
}

// Null where there is none.
template <class T>
const T* read(const std::optional<Tensor>& tensor) {
  return tensor ? read<T>(*tensor) : nullptr;
}

}  // namespace codex
