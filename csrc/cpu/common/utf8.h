#pragma once

#include <cstdint>

namespace codex {

// Length of the longest prefix that is valid UTF-8 (Unicode 15, table 3-7): no overlong forms, no surrogates.
int64_t valid_utf8_prefix(const uint8_t* text, int64_t size);

}  // namespace codex
