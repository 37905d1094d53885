#include "utf8.h"

#include <cstring>

namespace codex {
namespace {

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

template <int kNumBytes>
bool is_ascii(const uint8_t* text) {
  uint64_t words[kNumBytes / 8], all = 0;
  std::memcpy(words, text, kNumBytes);
  for (const uint64_t word : words) all |= word;
  return (all & 0x8080808080808080ull) == 0;
}

}  // namespace

int64_t valid_utf8_prefix(const uint8_t* text, int64_t size) {
  int64_t at = 0;
  while (at < size) {
    while (at + 8 <= size && is_ascii<8>(text + at)) {
      at += 8;
      while (at + 64 <= size && is_ascii<64>(text + at)) at += 64;
    }
    if (at == size) break;
    const int length = valid_character(text + at, size - at);
    if (length == 0) break;
    at += length;
  }
  return at;
}

}  // namespace codex
