// One text of each line of JSON Lines: the string under a key of the line's object, unescaped, without a parsed tree.
//
// A line is decided here only when there is no doubt what Python's json.loads would make of it. Everything else (no
// JSON, no UTF-8, no such key, another type under it, lone surrogates, escaped keys, NaN, deep nesting, white space
// beyond JSON's) is left to the caller as doubtful: he has Python's parser, and its words for what is wrong.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace codex {

enum class LineKind : uint8_t { kText = 0, kBlank = 1, kDoubtful = 2 };

struct LineTexts {
  std::vector<int64_t> line_starts;  // of each line in the data, and the data's end
  std::vector<int64_t> text_starts;  // of each line's text in the output (none: empty), and the output's end
  std::vector<LineKind> kinds;       // of each line
};

constexpr int64_t kLineTextsSlack = 8;

// Lines end in "\n", which the last may lack. Texts, end to end, go to `out`, which has room for size + kLineTextsSlack.
LineTexts extract_texts(const uint8_t* data, int64_t size, std::string_view key, uint8_t* out);

}  // namespace codex
