// Classes of code points, as GPT-2's pre-tokenizer tells them apart: \p{L}, \p{N}, \s and the rest.
#pragma once

#include <cstdint>

namespace codex {

enum CharacterClass : uint8_t { kOther = 0, kLetter = 1, kNumber = 2, kSpace = 3 };

// A character of UTF-8 text: its class and its length in bytes.
struct Character {
  CharacterClass kind;
  uint8_t num_bytes;
};

class UnicodeClasses {
 public:
  static const UnicodeClasses& instance();

  CharacterClass of_ascii(uint8_t byte) const { return ascii_[byte]; }
  CharacterClass of(uint32_t code_point) const {
    return static_cast<CharacterClass>(pages_[page_of_[code_point >> 8]][code_point & 255]);
  }

  // The character at `text`. The text must be valid UTF-8 (common/utf8.h).
  Character at(const uint8_t* text) const {
    const uint8_t lead = *text;
    if (lead < 0x80) return {ascii_[lead], 1};
    if (lead < 0xE0) return {of((lead & 0x1Fu) << 6 | (text[1] & 0x3Fu)), 2};
    if (lead < 0xF0) return {of((lead & 0x0Fu) << 12 | (text[1] & 0x3Fu) << 6 | (text[2] & 0x3Fu)), 3};
    return {of((lead & 0x07u) << 18 | (text[1] & 0x3Fu) << 12 | (text[2] & 0x3Fu) << 6 | (text[3] & 0x3Fu)), 4};
  }

 private:
  UnicodeClasses();

  static constexpr int kNumPages = 0x110000 >> 8;
  static constexpr int kMaxDistinctPages = 256;
  CharacterClass ascii_[128];
  uint8_t page_of_[kNumPages];
  uint8_t pages_[kMaxDistinctPages][256];
};

}  // namespace codex
