// The instruction sets that the inner loops are compiled for. Each loop has one file a set; the choice is made at run time.
#pragma once

namespace codex {

enum class Instructions { kScalar, kAvx2, kAvx512 };

// Whether this processor has them.
bool has_instructions(Instructions instructions);

}  // namespace codex
