// The pre-tokenizer: where the pieces of a text begin. GPT-2's pattern, in tiktoken's spelling for p50k_base:
//
//   '(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s
//
// Text goes in 64 bytes at a time: one bit a byte for each class, and the starts of pieces by shifts of these masks.
// A block with bytes beyond ASCII is scanned a character at a time instead.
#pragma once

#include <cstdint>

namespace codex {

// End of the piece that begins at `text` (text < end, valid UTF-8, a character's first byte).
const uint8_t* piece_end(const uint8_t* text, const uint8_t* end);

// Bytes of the contraction ('s, 't, 'm, 'd, 're, 've, 'll) at an apostrophe, or 0.
static inline int contraction_length(const uint8_t* apostrophe, const uint8_t* end) {
  if (end - apostrophe < 2) return 0;
  const uint8_t first = apostrophe[1];
  if (first == 's' || first == 't' || first == 'm' || first == 'd') return 2;
  if (end - apostrophe < 3) return 0;
  const uint8_t second = apostrophe[2];
  const bool found = (first == 'r' && second == 'e') || (first == 'v' && second == 'e') || (first == 'l' && second == 'l');
  return found ? 3 : 0;
}

// Where a scan stands. Bits of the last block's final byte carry over to the next block's first.
struct Scan {
  const uint8_t* text;
  uint32_t size;
  uint32_t at = 0;           // first byte that is not scanned yet
  uint64_t last_letter = 0, last_number = 0, last_other = 0, last_white = 0, last_blank = 0;
  uint64_t forced = 0, forbidden = 0;  // starts that a contraction across the border sets and takes away

};

// Room that scan_pieces needs in `starts` beyond what it may fill.
constexpr int kStartsSlack = 192;

// Scan on, appending to starts[0..count) until `limit` starts are there or the text ends; the new count. Every start but
// the last is final: a later call may still move the last one, so it must be the array's last element then.
using ScanPieces = int (*)(Scan& scan, uint32_t* starts, int count, int limit);

int scan_pieces_scalar(Scan& scan, uint32_t* starts, int count, int limit);
int scan_pieces_avx2(Scan& scan, uint32_t* starts, int count, int limit);
int scan_pieces_avx512(Scan& scan, uint32_t* starts, int count, int limit);

}  // namespace codex
