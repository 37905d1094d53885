#include "lines.h"

#include <cstring>

#include "../common/utf8.h"

namespace codex {
namespace {

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the first byte of a word must be its lowest");

constexpr int kMaxDepth = 100;         // Python's own limit is higher
constexpr int kMaxNumberBytes = 1000;  // Python refuses integers of more than 4300 digits

constexpr uint64_t repeated(uint8_t byte) { return 0x0101010101010101ull * byte; }

// Marks the quotes, backslashes and control characters of a word; the lowest mark is exact.
uint64_t specials(uint64_t word) {
  const uint64_t quotes = word ^ repeated('"'), backslashes = word ^ repeated('\\');
  const uint64_t marks = ((quotes - repeated(1)) & ~quotes) | ((backslashes - repeated(1)) & ~backslashes) |
                         ((word - repeated(0x20)) & ~word);
  return marks & repeated(0x80);
}

bool is_digit(uint8_t byte) { return byte >= '0' && byte <= '9'; }

int hex_digit(uint8_t byte) {
  if (is_digit(byte)) return byte - '0';
  const uint8_t lower = byte | 0x20;
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

// The character in UTF-8; returns its end.
uint8_t* put_character(uint8_t* out, uint32_t character) {
  if (character < 0x80) {
    *out++ = static_cast<uint8_t>(character);
  } else if (character < 0x800) {
    *out++ = static_cast<uint8_t>(0xC0 | character >> 6);
    *out++ = static_cast<uint8_t>(0x80 | (character & 0x3F));
  } else if (character < 0x10000) {
    *out++ = static_cast<uint8_t>(0xE0 | character >> 12);
    *out++ = static_cast<uint8_t>(0x80 | (character >> 6 & 0x3F));
    *out++ = static_cast<uint8_t>(0x80 | (character & 0x3F));
  } else {
    *out++ = static_cast<uint8_t>(0xF0 | character >> 18);
    *out++ = static_cast<uint8_t>(0x80 | (character >> 12 & 0x3F));
    *out++ = static_cast<uint8_t>(0x80 | (character >> 6 & 0x3F));
    *out++ = static_cast<uint8_t>(0x80 | (character & 0x3F));
  }
  return out;
}

// One line. Methods read on from where the last one stopped; false: there is a doubt.
class Line {
 public:
  Line(const uint8_t* begin, const uint8_t* end, const uint8_t* readable_end)
      : at_(begin), end_(end), readable_end_(readable_end) {}

  bool is_blank() {
    skip_white();
    return at_ == end_;
  }

  // The whole line: an object with a string under `key`. Of several such keys the last holds, as in Python.
  bool text_of(std::string_view key, uint8_t*& out) {
    uint8_t* const start = out;
    bool found = false;
    skip_white();
    if (!take('{')) return false;
    skip_white();
    if (take('}')) return false;  // no such key
    do {
      skip_white();
      const uint8_t* const name = at_ + 1;
      if (!take('"') || !plain_string()) return false;
      const bool wanted = std::string_view(reinterpret_cast<const char*>(name), at_ - 1 - name) == key;
      skip_white();
      if (!take(':')) return false;
      skip_white();
      if (wanted) {
        out = start;
        found = true;
        if (!take('"') || !string<true>(out)) return false;
      } else if (!value(1)) {
        return false;
      }
      skip_white();
    } while (take(','));
    if (!take('}')) return false;
    skip_white();
    return found && at_ == end_;
  }

 private:
  void skip_white() {
    while (at_ < end_ && (*at_ == ' ' || *at_ == '\t' || *at_ == '\r')) ++at_;
  }

  bool take(uint8_t byte) {
    if (at_ == end_ || *at_ != byte) return false;
    ++at_;
    return true;
  }

  // A string without escapes, its opening quote taken: a key that is compared byte by byte.
  bool plain_string() {
    while (at_ < end_ && *at_ != '"' && *at_ != '\\' && *at_ >= 0x20) ++at_;
    return take('"');
  }

  // A string, its opening quote taken. kKeep: unescaped to `out`.
  template <bool kKeep>
  bool string(uint8_t*& out) {
    while (true) {
      while (readable_end_ - at_ >= 8) {
        uint64_t word;
        std::memcpy(&word, at_, 8);
        if (kKeep) std::memcpy(out, &word, 8);  // what is written too much is written over
        const uint64_t marks = specials(word);
        const int length = marks == 0 ? 8 : __builtin_ctzll(marks) / 8;
        at_ += length;
        if (kKeep) out += length;
        if (marks != 0) break;
      }
      while (at_ < end_ && *at_ != '"' && *at_ != '\\' && *at_ >= 0x20) {
        if (kKeep) *out++ = *at_;
        ++at_;
      }
      if (take('"')) return true;
      if (!take('\\') || !escape<kKeep>(out)) return false;
    }
  }

  // What follows a backslash.
  template <bool kKeep>
  bool escape(uint8_t*& out) {
    if (at_ == end_) return false;
    uint8_t byte = *at_++;
    switch (byte) {
      case '"': case '\\': case '/': break;
      case 'b': byte = '\b'; break;
      case 'f': byte = '\f'; break;
      case 'n': byte = '\n'; break;
      case 'r': byte = '\r'; break;
      case 't': byte = '\t'; break;
      case 'u': return unicode_escape<kKeep>(out);
      default: return false;
    }
    if (kKeep) *out++ = byte;
    return true;
  }

  template <bool kKeep>
  bool unicode_escape(uint8_t*& out) {
    uint32_t character;
    if (!four_digits(character)) return false;
    if (character >= 0xD800 && character < 0xE000) {
      uint32_t low;
      if (character >= 0xDC00 || !take('\\') || !take('u') || !four_digits(low)) return false;
      if (low < 0xDC00 || low >= 0xE000) return false;
      character = 0x10000 + ((character - 0xD800) << 10) + (low - 0xDC00);
    }
    if (kKeep) out = put_character(out, character);
    return true;
  }

  bool four_digits(uint32_t& character) {
    if (end_ - at_ < 4) return false;
    character = 0;
    for (int i = 0; i < 4; ++i) {
      const int digit = hex_digit(*at_++);
      if (digit < 0) return false;
      character = character << 4 | static_cast<uint32_t>(digit);
    }
    return true;
  }

  // Any value, white space before it taken.
  bool value(int depth) {
    if (at_ == end_ || depth > kMaxDepth) return false;
    uint8_t* nowhere = nullptr;
    switch (*at_) {
      case '"': ++at_; return string<false>(nowhere);
      case '{': ++at_; return members<true>('}', depth);
      case '[': ++at_; return members<false>(']', depth);
      case 't': return literal("true");
      case 'f': return literal("false");
      case 'n': return literal("null");
      default: return number();
    }
  }

  template <bool kNamed>
  bool members(uint8_t close, int depth) {
    uint8_t* nowhere = nullptr;
    skip_white();
    if (take(close)) return true;
    do {
      skip_white();
      if (kNamed) {
        if (!take('"') || !string<false>(nowhere)) return false;
        skip_white();
        if (!take(':')) return false;
        skip_white();
      }
      if (!value(depth + 1)) return false;
      skip_white();
    } while (take(','));
    return take(close);
  }

  bool literal(std::string_view word) {
    const int64_t length = static_cast<int64_t>(word.size());
    if (end_ - at_ < length || std::memcmp(at_, word.data(), length) != 0) return false;
    at_ += length;
    return true;
  }

  bool digits() {
    const uint8_t* const first = at_;
    while (at_ < end_ && is_digit(*at_)) ++at_;
    return at_ > first;
  }

  bool number() {
    const uint8_t* const first = at_;
    take('-');
    if (!take('0') && !digits()) return false;
    if (take('.') && !digits()) return false;
    if (take('e') || take('E')) {
      if (!take('+')) take('-');
      if (!digits()) return false;
    }
    return at_ - first <= kMaxNumberBytes;
  }

  const uint8_t* at_;
  const uint8_t* const end_;
  const uint8_t* const readable_end_;  // of the data: a string ends at the line's end at the latest, a control character
};

}  // namespace

LineTexts extract_texts(const uint8_t* data, int64_t size, std::string_view key, uint8_t* out) {
  LineTexts found;
  uint8_t* to = out;
  int64_t start = 0;
  while (start < size) {
    const void* const newline = std::memchr(data + start, '\n', size - start);
    const int64_t end = newline == nullptr ? size : static_cast<const uint8_t*>(newline) - data;
    found.line_starts.push_back(start);
    found.text_starts.push_back(to - out);
    LineKind kind = LineKind::kBlank;
    if (!Line(data + start, data + end, data + size).is_blank()) {
      uint8_t* text_end = to;
      const bool certain = Line(data + start, data + end, data + size).text_of(key, text_end) &&
                           valid_utf8_prefix(data + start, end - start) == end - start;
      kind = certain ? LineKind::kText : LineKind::kDoubtful;
      if (certain) to = text_end;
    }
    found.kinds.push_back(kind);
    start = newline == nullptr ? size : end + 1;
  }
  found.line_starts.push_back(size);
  found.text_starts.push_back(to - out);
  return found;
}

}  // namespace codex
