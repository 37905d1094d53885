#include "unicode.h"

#include <cstdlib>
#include <cstring>

namespace codex {
namespace {

struct Run {
  uint8_t kind;
  uint32_t length;
};

constexpr Run kRuns[] = {
#include "unicode_classes.inc"
};

bool continues(uint8_t byte) { return (byte & 0xC0) == 0x80; }

// Bytes of the character at `text`, or 0 when it is not valid within `size` bytes.
int valid_character(const uint8_t* text, int64_t size) {
  const uint8_t lead = text[0];
  if (lead < 0x80) return 1;
  if (lead < 0xC2 || size < 2) return 0;  // a continuation byte, or a two-byte form of ASCII
  if (lead < 0xE0) return continues(text[1]) ? 2 : 0;
  if (size < 3 || !continues(text[2])) return 0;
  if (lead < 0xF0) {
    const uint8_t least = lead == 0xE0 ? 0xA0 : 0x80, most = lead == 0xED ? 0x9F : 0xBF;
    return text[1] >= least && text[1] <= most ? 3 : 0;
  }
  if (lead > 0xF4 || size < 4 || !continues(text[3])) return 0;
  const uint8_t least = lead == 0xF0 ? 0x90 : 0x80, most = lead == 0xF4 ? 0x8F : 0xBF;
  return text[1] >= least && text[1] <= most ? 4 : 0;
}

}  // namespace

const UnicodeClasses& UnicodeClasses::instance() {
  static const UnicodeClasses classes;
  return classes;
}

UnicodeClasses::UnicodeClasses() {
  int num_pages = 0;
  uint8_t page[256];
  int filled = 0, number = 0;
  for (const Run& run : kRuns) {
    for (uint32_t left = run.length; left > 0;) {
      const uint32_t length = left < static_cast<uint32_t>(256 - filled) ? left : 256 - filled;
      std::memset(page + filled, run.kind, length);
      filled += length;
      left -= length;
      if (filled < 256) continue;
      int same = 0;
      while (same < num_pages && std::memcmp(pages_[same], page, 256) != 0) ++same;
      if (same == kMaxDistinctPages) std::abort();  // the table outgrew page_of_'s byte: make it wider
      if (same == num_pages) std::memcpy(pages_[num_pages++], page, 256);
      page_of_[number++] = static_cast<uint8_t>(same);
      filled = 0;
    }
  }
  if (number != kNumPages) std::abort();
  for (int byte = 0; byte < 128; ++byte) ascii_[byte] = of(byte);
}

int64_t valid_utf8_prefix(const uint8_t* text, int64_t size) {
  int64_t at = 0;
  while (at < size) {
    uint64_t word;
    while (at + 8 <= size && (std::memcpy(&word, text + at, 8), (word & 0x8080808080808080ull) == 0)) at += 8;
    if (at == size) break;
    const int length = valid_character(text + at, size - at);
    if (length == 0) break;
    at += length;
  }
  return at;
}

}  // namespace codex
