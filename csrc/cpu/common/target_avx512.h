// What stands between this line and end_target.h is compiled for AVX-512 (VBMI and VBMI2, Ice Lake and Zen 4 on), by GCC and by clang.
// Only cstdint, cstring and headers without inline functions of external linkage may be included in between: the linker
// would be free to keep these instructions' copy for everybody.
#if defined(__clang__)
#include <immintrin.h>
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vbmi2,avx2,bmi,bmi2,lzcnt,popcnt"))), apply_to = function)
#else
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vbmi2,avx2,bmi,bmi2,lzcnt,popcnt")
#include <immintrin.h>
#endif
