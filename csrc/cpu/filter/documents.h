// Statistics of many documents, on several threads: Arrow's layout in (bytes end to end, and offsets).
#pragma once

#include <cstdint>

#include "../common/processor.h"
#include "statistics.h"

namespace codex {

// found[i]: of data[offsets[i], offsets[i + 1]), for each i < num_documents. It does not depend on num_threads.
// Throws std::invalid_argument when the processor lacks the instructions.
void measure_documents(const uint8_t* data, const int64_t* offsets, int64_t num_documents, Instructions instructions,
                       int num_threads, Statistics* found);

}  // namespace codex
