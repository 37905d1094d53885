// Shingles with AVX-512: one register a block, eight words or shingles at a time. Called only where there is one.
#if defined(__x86_64__)
#include "../common/target_avx512.h"
// GCC 12 warns of its own intrinsics, which start from undefined registers (bug 105593).
#if !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

#include "../common/bytes_avx512.h"
#include "shingles_blocks.h"

namespace codex {
namespace {

struct Avx512 {
  static uint64_t words(const uint8_t* text) {
    const __m512i bytes = _mm512_loadu_si512(text);
    const __m512i lower = _mm512_or_si512(bytes, _mm512_set1_epi8(0x20));
    return in_range(lower, 'a', 26) | in_range(bytes, '0', 10) |
           _mm512_cmpeq_epi8_mask(bytes, _mm512_set1_epi8('_')) | _mm512_movepi8_mask(bytes);
  }

  static void store(uint64_t bits, uint32_t base, uint32_t* to) {
    const __m512i offsets = _mm512_maskz_compress_epi8(bits, iota());
    const __m512i from = _mm512_set1_epi32(static_cast<int>(base));
    const int count = __builtin_popcountll(bits);
    put(to, from, _mm512_castsi512_si128(offsets));
    if (__builtin_expect(count <= 16, 1)) return;
    put(to + 16, from, _mm512_extracti32x4_epi32(offsets, 1));  // a word and what ends it are two bytes: 32 at most
  }

  static void hash_words(const uint8_t* text, const uint32_t* begins, const uint32_t* ends, int count,
                         uint64_t* hashes) {
    const __m512i factor = _mm512_set1_epi64(static_cast<int64_t>(kWordFactor));
    const __m256i eight = _mm256_set1_epi32(8);
    for (int i = 0; i < count; i += 8) {
      const __mmask8 valid = count - i >= 8 ? 0xFF : static_cast<__mmask8>((1u << (count - i)) - 1);
      __m256i at = _mm256_maskz_loadu_epi32(valid, begins + i);
      __m256i left = _mm256_sub_epi32(_mm256_maskz_loadu_epi32(valid, ends + i), at);
      __m512i hash = _mm512_setzero_si512();
      for (__mmask8 open = valid; open != 0;) {
        const __m512i loaded = _mm512_mask_i32gather_epi64(_mm512_setzero_si512(), open, at, text, 1);
        const __m256i here = _mm256_min_epi32(left, eight);
        const __m256i beyond = _mm256_slli_epi32(_mm256_sub_epi32(eight, here), 3);
        const __m512i kept = _mm512_srlv_epi64(_mm512_set1_epi64(-1), _mm512_cvtepu32_epi64(beyond));
        const __m512i mixed = _mm512_mullo_epi64(_mm512_xor_si512(hash, _mm512_and_si512(loaded, kept)), factor);
        hash = _mm512_mask_xor_epi64(hash, open, mixed, _mm512_srli_epi64(mixed, 32));
        at = _mm256_add_epi32(at, eight);
        left = _mm256_sub_epi32(left, eight);
        open = _mm256_mask_cmpgt_epi32_mask(open, left, _mm256_setzero_si256());
      }
      _mm512_storeu_si512(hashes + i, hash);  // `hashes` has room for eight more
    }
  }

  static void hash_shingles(const uint64_t* words, int count, int shingle_words, uint64_t* shingles) {
    const __m512i factor = _mm512_set1_epi64(static_cast<int64_t>(kShingleFactor));
    for (int i = 0; i < count; i += 8) {
      const __mmask8 valid = count - i >= 8 ? 0xFF : static_cast<__mmask8>((1u << (count - i)) - 1);
      __m512i hash = _mm512_maskz_loadu_epi64(valid, words + i);
      for (int word = 1; word < shingle_words; ++word) {
        const __m512i next = _mm512_maskz_loadu_epi64(valid, words + i + word);
        hash = _mm512_add_epi64(_mm512_mullo_epi64(hash, factor), next);
      }
      _mm512_mask_storeu_epi64(shingles + i, valid, hash);
    }
  }

  static void fold(const uint64_t* shingles, int64_t count, uint64_t round, uint32_t num_bins, uint32_t* minima) {
    const __m512i step = _mm512_set1_epi64(static_cast<int64_t>((round + 1) * kStep));
    const __m512i bins = _mm512_set1_epi64(num_bins);
    const __m512i value_mask = _mm512_set1_epi32(kValueMask), none = _mm512_set1_epi32(-1);
    for (int64_t i = 0; i < count; i += 16) {
      const __mmask16 valid = count - i >= 16 ? 0xFFFF : static_cast<__mmask16>((1u << (count - i)) - 1);
      const __m512i low = mixed(_mm512_maskz_loadu_epi64(static_cast<__mmask8>(valid), shingles + i), step);
      const __m512i high = mixed(_mm512_maskz_loadu_epi64(static_cast<__mmask8>(valid >> 8), shingles + i + 8), step);
      const __m512i bin = pack(bin_of(low, bins), bin_of(high, bins));
      const __m512i value = _mm512_mask_and_epi32(none, valid, pack(low, high), value_mask);
      const __m512i minimum = _mm512_i32gather_epi32(bin, minima, 4);
      uint32_t smaller = _mm512_cmplt_epu32_mask(value, minimum);
      if (smaller == 0) continue;
      alignas(64) uint32_t where[16], what[16];
      _mm512_store_si512(where, bin);
      _mm512_store_si512(what, value);
      if (__builtin_popcount(smaller) > 3) {  // without a branch for each
        for (int lane = 0; lane < 16; ++lane) put_smaller(what[lane], minima + where[lane]);
        continue;
      }
      for (; smaller != 0; smaller &= smaller - 1) {
        const int lane = __builtin_ctz(smaller);
        put_smaller(what[lane], minima + where[lane]);  // compared again: two may fall into one bin
      }
    }
  }

 private:
  static void put_smaller(uint32_t value, uint32_t* minimum) { *minimum = value < *minimum ? value : *minimum; }

  static __m512i mixed(__m512i x, __m512i step) {
    x = _mm512_add_epi64(x, step);
    x = _mm512_xor_si512(x, _mm512_srli_epi64(x, 30));
    x = _mm512_mullo_epi64(x, _mm512_set1_epi64(static_cast<int64_t>(0xBF58476D1CE4E5B9)));
    x = _mm512_xor_si512(x, _mm512_srli_epi64(x, 27));
    x = _mm512_mullo_epi64(x, _mm512_set1_epi64(static_cast<int64_t>(0x94D049BB133111EB)));
    return _mm512_xor_si512(x, _mm512_srli_epi64(x, 31));
  }

  static __m512i bin_of(__m512i y, __m512i bins) {
    return _mm512_srli_epi64(_mm512_mul_epu32(_mm512_srli_epi64(y, 32), bins), 32);
  }

  // The low halves of sixteen numbers.
  static __m512i pack(__m512i low, __m512i high) {
    return _mm512_inserti64x4(_mm512_castsi256_si512(_mm512_cvtepi64_epi32(low)), _mm512_cvtepi64_epi32(high), 1);
  }
};

}  // namespace

int read_shingles_avx512(ShingleReader& reader, uint64_t* shingles) {
  return SegmentReader<Avx512>::read(reader, shingles);
}

void fold_shingles_avx512(const uint64_t* shingles, int64_t count, uint64_t round, uint32_t num_bins,
                          uint32_t* minima) {
  Avx512::fold(shingles, count, round, num_bins, minima);
}

}  // namespace codex

#include "../common/end_target.h"
#endif
