// The scan of scanner.h over any instruction set. Included by one file for each; only <cstdint> and <cstring> may be
// included here, for inline functions of other headers would be compiled with that file's instructions.
#pragma once

#include <cstdint>
#include <cstring>

#include "scanner.h"

namespace codex {

// One bit for each of 64 bytes. White space is what is none of the others; bytes beyond ASCII are in no mask.
struct Masks {
  uint64_t letter, number, other, blank /* U+0020 */, apostrophe, beyond_ascii;
};

// Isa: Masks classify(const uint8_t text[64]), and
// void store(uint64_t bits, uint32_t base, uint32_t* to), which may write 64 elements.
template <class Isa>
inline int scan_blocks(Scan& scan, uint32_t* starts, int count, int limit) {
  const uint8_t* const text = scan.text;
  const uint8_t* const end = text + scan.size;
  while (scan.at < scan.size && count < limit) {
    const uint8_t* const block = text + scan.at;
    const uint32_t left = scan.size - scan.at;
    uint8_t padded[64];
    const uint8_t* bytes = block;
    if (left < 64) {  // what lies beyond the end counts as white space, so that a run there is not split
      std::memset(padded, '\n', 64);
      std::memcpy(padded, block, left);
      bytes = padded;
    }
    const Masks masks = Isa::classify(bytes);
    const uint8_t next = left > 64 ? block[64] : '\n';
    if (__builtin_expect((masks.beyond_ascii | (next >> 7)) != 0, 0)) {
      // From the last start on, character by character, until the block and its neighbour are behind.
      const uint8_t* at = count > 0 ? text + starts[--count] : block;
      const uint8_t* const stop = left > 64 ? block + 65 : end;
      while (at < stop && count < limit) {
        starts[count++] = static_cast<uint32_t>(at - text);
        at = piece_end(at, end);
      }
      scan = Scan{text, scan.size, static_cast<uint32_t>(at - text)};
      continue;
    }
    const uint64_t valid = left >= 64 ? ~0ull : (1ull << left) - 1;
    const uint64_t white = ~(masks.letter | masks.number | masks.other);
    const bool next_is_white = next == ' ' || (next >= '\t' && next <= '\r');
    const uint64_t white_next = white >> 1 | static_cast<uint64_t>(next_is_white) << 63;
    const uint64_t runs = (masks.letter & ~(masks.letter << 1 | scan.last_letter)) |
                          (masks.number & ~(masks.number << 1 | scan.last_number)) |
                          (masks.other & ~(masks.other << 1 | scan.last_other));
    uint64_t found = (white & ~(white << 1 | scan.last_white)) |  // a run of white space begins
                     (white & ~white_next) |                      // its last one is apart from the rest,
                     (runs & ~(masks.blank << 1 | scan.last_blank));  // and if a blank, joins what follows
    found = ((found & ~scan.forbidden) | scan.forced) & valid;
    scan.forced = scan.forbidden = 0;
    uint64_t quotes = found & masks.apostrophe & (masks.letter >> 1 | 1ull << 63);
    while (__builtin_expect(quotes != 0, 0)) {
      const int bit = __builtin_ctzll(quotes);
      quotes &= quotes - 1;
      const int length = contraction_length(block + bit, end);
      if (length == 0) continue;
      const int letter = bit + 1, after = bit + length;
      if (letter < 64) found &= ~(1ull << letter);
      else scan.forbidden |= 1ull << (letter - 64);
      if (block + after >= end) continue;
      if (after < 64) found |= 1ull << after;
      else scan.forced |= 1ull << (after - 64);
    }
    scan.last_letter = masks.letter >> 63;
    scan.last_number = masks.number >> 63;
    scan.last_other = masks.other >> 63;
    scan.last_white = white >> 63;
    scan.last_blank = masks.blank >> 63;
    Isa::store(found, scan.at, starts + count);
    count += __builtin_popcountll(found);
    scan.at += 64;
  }
  return count;
}

}  // namespace codex
