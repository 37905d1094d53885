// What a matrix's elements are.
#pragma once

#include <cstdint>

namespace codex {

enum class Element { kFloat32, kBfloat16 };

// bf16 is the upper half of a float's bits.
using Bfloat16 = uint16_t;

}  // namespace codex
