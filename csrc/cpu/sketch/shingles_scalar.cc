// Shingles in plain C++, for any machine.
#include "shingles_blocks.h"

namespace codex {
namespace {

struct PlainCpp : OneAtATime {
  static uint64_t words(const uint8_t* text) {
    uint64_t mask = 0;
    for (int i = 0; i < 64; i += 8) {
      uint64_t eight;
      std::memcpy(&eight, text + i, 8);
      mask |= words_of_eight(little_endian(eight)) << i;
    }
    return mask;
  }

 private:
  static constexpr uint64_t kOnes = 0x0101010101010101, kTops = 0x80 * kOnes;

  // The top bit of each byte where it is at least `least`; of bytes below 128.
  static uint64_t at_least(uint64_t bytes, uint8_t least) { return bytes + (0x80 - least) * kOnes; }

  static uint64_t words_of_eight(uint64_t bytes) {
    const uint64_t ascii = bytes & ~kTops, lower = ascii | 0x20 * kOnes;
    const uint64_t letter = at_least(lower, 'a') & ~at_least(lower, 'z' + 1);
    const uint64_t digit = at_least(ascii, '0') & ~at_least(ascii, '9' + 1);
    const uint64_t underscore = ~at_least(ascii ^ '_' * kOnes, 1);
    const uint64_t word = ((letter | digit | underscore | bytes) & kTops) >> 7;
    return word * 0x0102040810204080 >> 56;  // brings bit 8 i to bit 56 + i
  }
};

}  // namespace

int read_shingles_scalar(ShingleReader& reader, uint64_t* shingles) {
  return SegmentReader<PlainCpp>::read(reader, shingles);
}

void fold_shingles_scalar(const uint64_t* shingles, int64_t count, uint64_t round, uint32_t num_bins,
                          uint32_t* minima) {
  PlainCpp::fold(shingles, count, round, num_bins, minima);
}

}  // namespace codex
