// What every C entry point of csrc/kernels answers, and the names of element types it is called with.
#pragma once

enum CodexStatus {
  CODEX_OK = 0,
  CODEX_BAD_DTYPE = 1,      // not a CodexDtype
  CODEX_BAD_SIZE = 2,       // a negative size, or one beyond what the entry point's header states
  CODEX_BAD_POINTER = 3,    // null where there is something to read or write, or not aligned to its elements
  CODEX_LAUNCH_FAILED = 4,  // cudaGetLastError has the reason; in tests on a CPU codex_on_cpu_fault() has
};

enum CodexDtype { CODEX_FLOAT32 = 0, CODEX_BFLOAT16 = 1, CODEX_FLOAT16 = 2 };

namespace codex {

// For messages: "decode_suffix: " + status_text(status).
inline const char* status_text(int status) {
  switch (status) {
    case CODEX_OK: return "done";
    case CODEX_BAD_DTYPE: return "the element type is not float32, bfloat16 or float16";
    case CODEX_BAD_SIZE: return "a size is negative or beyond what the kernel takes";
    case CODEX_BAD_POINTER: return "a pointer is null or not aligned to its elements";
    case CODEX_LAUNCH_FAILED: return "the launch failed";
    default: return "an unknown status";
  }
}

}  // namespace codex
