// The pass with AVX2: two registers of 32 bytes a block. Called only where the processor has it.
#if defined(__x86_64__)
#include "../common/target_avx2.h"

#include "statistics_blocks.h"

namespace codex {
namespace {

struct Avx2 {
  static ByteMasks classify(const uint8_t* text) {
    const ByteMasks low = half(text), high = half(text + 32);
    return {low.line_feed | high.line_feed << 32,       low.carriage_return | high.carriage_return << 32,
            low.alphanumeric | high.alphanumeric << 32, low.white | high.white << 32,
            low.nul | high.nul << 32,                   low.beyond_ascii | high.beyond_ascii << 32,
            low.continuation | high.continuation << 32};
  }

  static uint64_t equal(const uint8_t* text, uint8_t byte) {
    const __m256i wanted = _mm256_set1_epi8(static_cast<char>(byte));
    return bits(_mm256_cmpeq_epi8(load(text), wanted)) | bits(_mm256_cmpeq_epi8(load(text + 32), wanted)) << 32;
  }

  static uint64_t equal_ignoring_case(const uint8_t* text, uint8_t letter) {
    const __m256i wanted = _mm256_set1_epi8(static_cast<char>(letter)), blank = _mm256_set1_epi8(0x20);
    return bits(_mm256_cmpeq_epi8(_mm256_or_si256(load(text), blank), wanted)) |
           bits(_mm256_cmpeq_epi8(_mm256_or_si256(load(text + 32), blank), wanted)) << 32;
  }

 private:
  static __m256i load(const uint8_t* text) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(text)); }

  static uint64_t bits(__m256i mask) { return static_cast<uint32_t>(_mm256_movemask_epi8(mask)); }

  // 0xFF where low <= byte <= high, all three below 128 (signed compares; bytes beyond ASCII are negative).
  static __m256i between(__m256i bytes, char low, char high) {
    const __m256i above = _mm256_cmpgt_epi8(bytes, _mm256_set1_epi8(low - 1));
    return _mm256_and_si256(above, _mm256_cmpgt_epi8(_mm256_set1_epi8(high + 1), bytes));
  }

  static ByteMasks half(const uint8_t* text) {
    const __m256i bytes = load(text);
    const __m256i lower = _mm256_or_si256(bytes, _mm256_set1_epi8(0x20));
    const __m256i blank = _mm256_cmpeq_epi8(bytes, _mm256_set1_epi8(' '));
    const __m256i controls = _mm256_or_si256(between(bytes, '\t', '\r'), between(bytes, 0x1C, 0x1F));
    // A continuation is 0x80 to 0xBF, which are the smallest signed bytes.
    const __m256i continuation = _mm256_cmpgt_epi8(_mm256_set1_epi8(static_cast<char>(0xC0)), bytes);
    return {bits(_mm256_cmpeq_epi8(bytes, _mm256_set1_epi8('\n'))),
            bits(_mm256_cmpeq_epi8(bytes, _mm256_set1_epi8('\r'))),
            bits(_mm256_or_si256(between(bytes, '0', '9'), between(lower, 'a', 'z'))),
            bits(_mm256_or_si256(blank, controls)),
            bits(_mm256_cmpeq_epi8(bytes, _mm256_setzero_si256())),
            bits(bytes),
            bits(continuation)};
  }
};

}  // namespace

Statistics measure_avx2(const uint8_t* text, int64_t size) { return StatisticsPass<Avx2>::measure(text, size); }

}  // namespace codex

#include "../common/end_target.h"
#endif
