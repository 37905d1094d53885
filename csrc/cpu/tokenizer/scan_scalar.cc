// The scan in plain C++, for any machine, and the character-by-character scan that all of them share.
#include "scan_blocks.h"
#include "unicode.h"

namespace codex {
namespace {

// End of the run of one class that goes on at `text`.
const uint8_t* run_end(const uint8_t* text, const uint8_t* end, CharacterClass kind) {
  const UnicodeClasses& classes = UnicodeClasses::instance();
  while (text < end) {
    const Character character = classes.at(text);
    if (character.kind != kind) break;
    text += character.num_bytes;
  }
  return text;
}

struct PlainCpp {
  static Masks classify(const uint8_t* text) {
    const UnicodeClasses& classes = UnicodeClasses::instance();
    Masks masks{};
    for (int i = 0; i < 64; ++i) {
      const uint64_t bit = 1ull << i;
      if (text[i] >= 0x80) {
        masks.beyond_ascii |= bit;
        continue;
      }
      switch (classes.of_ascii(text[i])) {
        case kLetter: masks.letter |= bit; break;
        case kNumber: masks.number |= bit; break;
        case kOther: masks.other |= bit; break;
        case kSpace: break;
      }
      if (text[i] == ' ') masks.blank |= bit;
      if (text[i] == '\'') masks.apostrophe |= bit;
    }
    return masks;
  }

  static void store(uint64_t bits, uint32_t base, uint32_t* to) {
    for (; bits != 0; bits &= bits - 1) *to++ = base + __builtin_ctzll(bits);
  }
};

}  // namespace

const uint8_t* piece_end(const uint8_t* text, const uint8_t* end) {
  const UnicodeClasses& classes = UnicodeClasses::instance();
  if (*text == '\'') {
    const int length = contraction_length(text, end);
    if (length != 0) return text + length;
  }
  const Character first = classes.at(text);
  const uint8_t* const second = text + first.num_bytes;
  if (first.kind != kSpace) return run_end(second, end, first.kind);
  if (*text == ' ' && second < end) {
    const Character follower = classes.at(second);
    if (follower.kind != kSpace) return run_end(second + follower.num_bytes, end, follower.kind);
  }
  const uint8_t* const after = run_end(second, end, kSpace);
  if (after == end) return end;
  const uint8_t* last = after - 1;  // the run's last character is left to what follows, unless it is the only one
  while ((*last & 0xC0) == 0x80) --last;
  return last > text ? last : after;
}

int scan_pieces_scalar(Scan& scan, uint32_t* starts, int count, int limit) {
  return scan_blocks<PlainCpp>(scan, starts, count, limit);
}

}  // namespace codex
