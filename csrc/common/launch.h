// From a C entry point to a kernel: checks of what came in, the choice of a kernel by element type and alignment, and
// the launch. Everything answers a CodexStatus; nothing throws.
#pragma once

#include "device.h"
#include "status.h"

namespace codex {

struct Launch {
  int64_t num_blocks;
  int num_threads;
  size_t dynamic_bytes;
  void* stream;
};

// kernel<<<...>>>(arguments...). Beyond 48 KB a block, the kernel's own arrays included, CUDA wants to be asked; they
// are far below 16 KB.
template <class... Parameters, class... Arguments>
int launch(void (*kernel)(Parameters...), const Launch& how, Arguments... arguments) {
  if (how.num_blocks < 1 || how.num_blocks > INT32_MAX) return CODEX_BAD_SIZE;
#if defined(CODEX_ON_CPU)
  auto body = [&] { kernel(static_cast<Parameters>(arguments)...); };
  on_cpu::Grid grid{dim3(static_cast<unsigned>(how.num_blocks)), dim3(static_cast<unsigned>(how.num_threads)),
                    how.dynamic_bytes, [](void* of) { (*static_cast<decltype(body)*>(of))(); }, &body};
  return on_cpu::run_grid(grid) ? CODEX_OK : CODEX_LAUNCH_FAILED;
#else
  if (how.dynamic_bytes > (32u << 10) &&
      cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel), cudaFuncAttributeMaxDynamicSharedMemorySize,
                           static_cast<int>(how.dynamic_bytes)) != cudaSuccess)
    return CODEX_LAUNCH_FAILED;
  kernel<<<static_cast<unsigned>(how.num_blocks), how.num_threads, how.dynamic_bytes,
           static_cast<cudaStream_t>(how.stream)>>>(static_cast<Parameters>(arguments)...);
  return cudaPeekAtLastError() == cudaSuccess ? CODEX_OK : CODEX_LAUNCH_FAILED;
#endif
}

template <class T>
struct Of {
  using Type = T;
};

// choose(Of<element type>): a generic lambda that launches.
template <class Choose>
int by_dtype(int dtype, Choose choose) {
  switch (dtype) {
    case CODEX_FLOAT32: return choose(Of<float>{});
    case CODEX_BFLOAT16: return choose(Of<bfloat16>{});
    case CODEX_FLOAT16: return choose(Of<float16>{});
    default: return CODEX_BAD_DTYPE;
  }
}

inline bool aligned(const void* pointer, size_t bytes) { return reinterpret_cast<uintptr_t>(pointer) % bytes == 0; }

// Whether vectors of T fit: every pointer and every row's start is at a multiple of 16 bytes.
template <class T, class... Pointers>
bool takes_vectors(int64_t row_length, const Pointers*... pointers) {
  return row_length % (kVectorBytes / static_cast<int64_t>(sizeof(T))) == 0 &&
         (aligned(pointers, kVectorBytes) && ...);
}

// CODEX_BAD_POINTER where one is null or not a multiple of its element.
template <class T, class... Pointers>
int check_pointers(const Pointers*... pointers) {
  return ((pointers != nullptr && aligned(pointers, sizeof(T))) && ...) ? CODEX_OK : CODEX_BAD_POINTER;
}

constexpr int64_t ceil_div(int64_t whole, int64_t part) { return (whole + part - 1) / part; }

}  // namespace codex
