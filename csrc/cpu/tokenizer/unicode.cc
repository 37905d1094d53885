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

}  // namespace codex
