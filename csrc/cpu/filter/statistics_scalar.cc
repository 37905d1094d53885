// The pass in plain C++, for any machine.
#include "statistics_blocks.h"

namespace codex {
namespace {

struct PlainCpp {
  static ByteMasks classify(const uint8_t* text) {
    ByteMasks masks{};
    for (int i = 0; i < 64; ++i) {
      const uint8_t byte = text[i], lower = byte | 0x20;
      masks.line_feed |= bit(byte == '\n', i);
      masks.carriage_return |= bit(byte == '\r', i);
      masks.alphanumeric |= bit((byte >= '0' && byte <= '9') || (lower >= 'a' && lower <= 'z'), i);
      masks.white |= bit(byte == ' ' || (byte >= '\t' && byte <= '\r') || (byte >= 0x1C && byte <= 0x1F), i);
      masks.nul |= bit(byte == 0, i);
      masks.beyond_ascii |= bit(byte >= 0x80, i);
      masks.continuation |= bit((byte & 0xC0) == 0x80, i);
    }
    return masks;
  }

  static uint64_t equal(const uint8_t* text, uint8_t byte) {
    uint64_t mask = 0;
    for (int i = 0; i < 64; ++i) mask |= bit(text[i] == byte, i);
    return mask;
  }

  static uint64_t equal_ignoring_case(const uint8_t* text, uint8_t letter) {
    uint64_t mask = 0;
    for (int i = 0; i < 64; ++i) mask |= bit((text[i] | 0x20) == letter, i);
    return mask;
  }

 private:
  static uint64_t bit(bool is_set, int at) { return static_cast<uint64_t>(is_set) << at; }
};

}  // namespace

Statistics measure_scalar(const uint8_t* text, int64_t size) { return StatisticsPass<PlainCpp>::measure(text, size); }

}  // namespace codex
