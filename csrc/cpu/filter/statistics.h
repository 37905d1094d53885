// One pass over a document for the corpus filters: what its characters are, how long its lines, and a hash.
//
// These are facts, not decisions: megatron_codex/corpus/filters.py holds the rules, and looks itself at what cannot be told
// from here (letters beyond ASCII, declared encodings, whether a head that speaks of generation is a generator's stamp).
#pragma once

#include <cstdint>

namespace codex {

// Lines end as in Python, at \n, \r\n or \r; lengths are in characters, without line ends. What is counted in characters
// means something only where is_utf8.
struct Statistics {
  uint64_t hash_low, hash_high;  // XXH3-128 of the bytes, seed 0
  int64_t num_chars;
  int64_t num_lines;             // what follows the last line end is a line only if there is something
  int64_t num_line_chars;        // in all lines, their ends left out
  int64_t max_line_chars;
  int64_t num_ascii;
  int64_t num_ascii_alphanumeric;
  int64_t num_ascii_white;       // as str.isspace: blank, \t to \r, \x1c to \x1f
  int64_t num_nul;
  uint8_t is_utf8;
  uint8_t may_declare_encoding;  // it begins with a byte order mark, or "coding" stands in one of its first two lines
  uint8_t may_be_generated;      // its head has the words without which no generator's stamp is one
  uint8_t unused[5];
};

using Measure = Statistics (*)(const uint8_t* text, int64_t size);

Statistics measure_scalar(const uint8_t* text, int64_t size);
Statistics measure_avx2(const uint8_t* text, int64_t size);
Statistics measure_avx512(const uint8_t* text, int64_t size);

}  // namespace codex
