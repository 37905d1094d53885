// The pass with AVX-512: one register a block. Called only where the processor has it.
#if defined(__x86_64__)
#include "../common/target_avx512.h"

#include "../common/bytes_avx512.h"
#include "statistics_blocks.h"

namespace codex {
namespace {

struct Avx512 {
  static ByteMasks classify(const uint8_t* text) {
    const __m512i bytes = _mm512_loadu_si512(text);
    const __m512i lower = _mm512_or_si512(bytes, _mm512_set1_epi8(0x20));
    return {_mm512_cmpeq_epi8_mask(bytes, _mm512_set1_epi8('\n')),
            _mm512_cmpeq_epi8_mask(bytes, _mm512_set1_epi8('\r')),
            in_range(bytes, '0', 10) | in_range(lower, 'a', 26),
            _mm512_cmpeq_epi8_mask(bytes, _mm512_set1_epi8(' ')) | in_range(bytes, '\t', 5) | in_range(bytes, 0x1C, 4),
            _mm512_testn_epi8_mask(bytes, bytes),
            _mm512_movepi8_mask(bytes),
            in_range(bytes, static_cast<char>(0x80), 0x40)};
  }

  static uint64_t equal(const uint8_t* text, uint8_t byte) {
    return _mm512_cmpeq_epi8_mask(_mm512_loadu_si512(text), _mm512_set1_epi8(static_cast<char>(byte)));
  }

  static uint64_t equal_ignoring_case(const uint8_t* text, uint8_t letter) {
    const __m512i lower = _mm512_or_si512(_mm512_loadu_si512(text), _mm512_set1_epi8(0x20));
    return _mm512_cmpeq_epi8_mask(lower, _mm512_set1_epi8(static_cast<char>(letter)));
  }
};

}  // namespace

Statistics measure_avx512(const uint8_t* text, int64_t size) { return StatisticsPass<Avx512>::measure(text, size); }

}  // namespace codex

#include "../common/end_target.h"
#endif
