// Shingles with AVX2: two registers of 32 bytes a block; it has no wide multiplication, so the hashes are made one at a
// time. Called only where the processor has it.
#if defined(__x86_64__)
#include "../common/target_avx2.h"

#include "shingles_blocks.h"

namespace codex {
namespace {

struct Avx2 : OneAtATime {
  static uint64_t words(const uint8_t* text) { return half(text) | half(text + 32) << 32; }

 private:
  // 0xFF where low <= byte <= high, all three below 128 (signed compares; bytes beyond ASCII are negative).
  static __m256i between(__m256i bytes, char low, char high) {
    const __m256i above = _mm256_cmpgt_epi8(bytes, _mm256_set1_epi8(low - 1));
    return _mm256_and_si256(above, _mm256_cmpgt_epi8(_mm256_set1_epi8(high + 1), bytes));
  }

  static uint64_t half(const uint8_t* text) {
    const __m256i bytes = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(text));
    const __m256i lower = _mm256_or_si256(bytes, _mm256_set1_epi8(0x20));
    const __m256i letter_or_digit = _mm256_or_si256(between(lower, 'a', 'z'), between(bytes, '0', '9'));
    const __m256i underscore = _mm256_cmpeq_epi8(bytes, _mm256_set1_epi8('_'));
    // movemask takes the top bits: `bytes` itself adds what lies beyond ASCII.
    const __m256i word = _mm256_or_si256(_mm256_or_si256(letter_or_digit, underscore), bytes);
    return static_cast<uint32_t>(_mm256_movemask_epi8(word));
  }
};

}  // namespace

int read_shingles_avx2(ShingleReader& reader, uint64_t* shingles) {
  return SegmentReader<Avx2>::read(reader, shingles);
}

void fold_shingles_avx2(const uint64_t* shingles, int64_t count, uint64_t round, uint32_t num_bins, uint32_t* minima) {
  Avx2::fold(shingles, count, round, num_bins, minima);
}

}  // namespace codex

#include "../common/end_target.h"
#endif
