// Sketches of many documents, on several threads: Arrow's layout in (bytes end to end, and offsets).
#pragma once

#include <cstdint>

#include "../common/processor.h"

namespace codex {

// sketches[i * num_bins, (i + 1) * num_bins): of data[offsets[i], offsets[i + 1]), for each i < num_documents, as
// shingles.h says. They do not depend on the instructions or num_threads. 1 <= shingle_words <= kMaxShingleWords;
// num_bins >= 1. Throws std::invalid_argument when the processor lacks the instructions.
void sketch_documents(const uint8_t* data, const int64_t* offsets, int64_t num_documents, int num_bins,
                      int shingle_words, Instructions instructions, int num_threads, uint32_t* sketches);

}  // namespace codex
