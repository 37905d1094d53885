// The pass of statistics.h over any instruction set. Included by one file for each; only headers without inline functions
// of external linkage may be included here, for those would be compiled with that file's instructions.
#pragma once

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <cstdint>
#include <cstring>

#include "../common/utf8.h"
#include "statistics.h"

namespace codex {

// One bit for each of 64 bytes.
struct ByteMasks {
  uint64_t line_feed, carriage_return, alphanumeric, white, nul, beyond_ascii, continuation;
};

// A generator's stamp is looked for in the first 2,048 characters (filters.py); a character is four bytes at most.
constexpr int64_t kHeadChars = 2048;
constexpr int64_t kHeadBytes = 4 * kHeadChars;

// Isa: ByteMasks classify(const uint8_t text[64]); uint64_t equal(const uint8_t text[64], uint8_t byte), one bit a byte;
// and equal_ignoring_case, which is for lower-case letters.
template <class Isa>
class StatisticsPass {
 public:
  static Statistics measure(const uint8_t* text, int64_t size) {
    StatisticsPass pass;
    int64_t at = 0;
    for (; at + 64 <= size; at += 64) pass.add(Isa::classify(text + at), ~0ull);
    if (at < size) {
      uint8_t padded[64] = {};
      std::memcpy(padded, text + at, size - at);
      pass.add(Isa::classify(padded), (1ull << (size - at)) - 1);
    }
    Statistics& found = pass.found_;
    const bool open = size > 0 && text[size - 1] != '\n' && text[size - 1] != '\r';
    found.num_lines += open;
    if (pass.open_chars_ > found.max_line_chars) found.max_line_chars = pass.open_chars_;
    found.is_utf8 = found.num_ascii == size || valid_utf8_prefix(text, size) == size;
    found.may_declare_encoding = may_declare_encoding(text, size);
    found.may_be_generated = may_be_generated(text, size, found.num_ascii == size);
    const XXH128_hash_t hash = XXH3_128bits(text, size);
    found.hash_low = hash.low64;
    found.hash_high = hash.high64;
    return found;
  }

 private:
  void add(const ByteMasks& masks, uint64_t valid) {
    const uint64_t chars = ~masks.continuation & valid;
    const uint64_t returns = masks.carriage_return & valid, feeds = masks.line_feed & valid;
    const uint64_t after_return = returns << 1 | last_return_;
    last_return_ = returns >> 63;
    const uint64_t text = chars & ~(returns | feeds);
    const uint64_t ends = returns | (feeds & ~after_return);
    found_.num_chars += __builtin_popcountll(chars);
    found_.num_line_chars += __builtin_popcountll(text);
    found_.num_lines += __builtin_popcountll(ends);
    found_.num_ascii += __builtin_popcountll(~masks.beyond_ascii & valid);
    found_.num_ascii_alphanumeric += __builtin_popcountll(masks.alphanumeric & valid);
    found_.num_ascii_white += __builtin_popcountll(masks.white & valid);
    found_.num_nul += __builtin_popcountll(masks.nul & valid);
    if (ends == 0) {
      open_chars_ += __builtin_popcountll(text);
      return;
    }
    uint64_t before = (ends & -ends) - 1;
    note_line(open_chars_ + __builtin_popcountll(text & before));
    // Lines that begin and end in this block are shorter than it: of no interest once a longer one was met.
    if (found_.max_line_chars < 64) {
      for (uint64_t rest = ends & (ends - 1); rest != 0; rest &= rest - 1) {
        const uint64_t begun = before;
        before = (rest & -rest) - 1;
        note_line(__builtin_popcountll(text & before & ~begun));
      }
    }
    const int last = 63 - __builtin_clzll(ends);
    open_chars_ = __builtin_popcountll(text & ~((2ull << last) - 1));
  }

  void note_line(int64_t num_chars) {
    if (num_chars > found_.max_line_chars) found_.max_line_chars = num_chars;
  }

  // Python looks for a coding cookie (PEP 263) in the first two lines, which end at \n for it.
  static bool may_declare_encoding(const uint8_t* text, int64_t size) {
    if (size >= 3 && text[0] == 0xEF && text[1] == 0xBB && text[2] == 0xBF) return true;
    const uint8_t* const end = text + size;
    const uint8_t* stop = text;
    for (int line = 0; line < 2 && stop < end; ++line) {
      const void* const feed = std::memchr(stop, '\n', end - stop);
      stop = feed == nullptr ? end : static_cast<const uint8_t*>(feed) + 1;
    }
    for (const uint8_t* at = text; stop - at >= 6; ++at) {
      at = static_cast<const uint8_t*>(std::memchr(at, 'c', stop - at - 5));
      if (at == nullptr) return false;
      if (std::memcmp(at, "coding", 6) == 0) return true;
    }
    return false;
  }

  // "generated" in any case, or one of DO NOT, DON'T before EDIT, MODIFY.
  static bool may_be_generated(const uint8_t* text, int64_t size, bool is_ascii) {
    const int64_t head = is_ascii ? kHeadChars : kHeadBytes;
    if (size > head) size = head;
    constexpr int64_t kReach = 64 + 8;  // bytes looked at from a block's first on
    int64_t at = 0;
    for (; at + kReach <= size; at += 64) {
      if (may_hold_stamp(text, text + at, text + size)) return true;
    }
    uint8_t padded[2 * kReach] = {};  // the rest, with what stands before it
    const int64_t before = at < 8 ? at : 8;
    std::memcpy(padded, text + at - before, size - at + before);
    const uint8_t* const stop = padded + before + (size - at);
    return may_hold_stamp(padded, padded + before, stop) ||
           (size - at > 64 && may_hold_stamp(padded, padded + before + 64, stop));
  }

  static bool may_hold_stamp(const uint8_t* begin, const uint8_t* block, const uint8_t* end) {
    uint64_t words = Isa::equal_ignoring_case(block, 'g') & Isa::equal_ignoring_case(block + 6, 't') &
                     Isa::equal_ignoring_case(block + 8, 'd');
    for (; words != 0; words &= words - 1) {
      if (is_generated(block + __builtin_ctzll(words), end)) return true;
    }
    uint64_t verbs = (Isa::equal(block, 'E') & Isa::equal(block + 2, 'I')) |
                     (Isa::equal(block, 'M') & Isa::equal(block + 2, 'D'));
    for (; verbs != 0; verbs &= verbs - 1) {
      if (forbids_change(begin, block + __builtin_ctzll(verbs), end)) return true;
    }
    return false;
  }

  static bool is_generated(const uint8_t* word, const uint8_t* end) {
    constexpr char kWord[] = "generated";
    if (end - word < 9) return false;
    for (int i = 0; i < 9; ++i) {
      if ((word[i] | 0x20) != kWord[i]) return false;
    }
    return true;
  }

  static bool forbids_change(const uint8_t* begin, const uint8_t* verb, const uint8_t* end) {
    const bool edit = end - verb >= 4 && std::memcmp(verb, "EDIT", 4) == 0;
    const bool modify = end - verb >= 6 && std::memcmp(verb, "MODIFY", 6) == 0;
    if (!edit && !modify) return false;
    return (verb - begin >= 7 && std::memcmp(verb - 7, "DO NOT ", 7) == 0) ||
           (verb - begin >= 6 && std::memcmp(verb - 6, "DON'T ", 6) == 0);
  }

  Statistics found_{};
  int64_t open_chars_ = 0;    // of the line that goes on
  uint64_t last_return_ = 0;  // 1: the byte before the next block is \r
};

}  // namespace codex
