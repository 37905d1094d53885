#include "processor.h"

namespace codex {

bool has_instructions(Instructions instructions) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (instructions == Instructions::kAvx512) {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vbmi") &&
           __builtin_cpu_supports("avx512vbmi2") && __builtin_cpu_supports("bmi2");
  }
  if (instructions == Instructions::kAvx2) {
    // LZCNT came before AVX2 on every processor; clang 14 cannot ask for it.
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2") &&
           __builtin_cpu_supports("popcnt");
  }
  return true;
#else
  return instructions == Instructions::kScalar;
#endif
}

}  // namespace codex
