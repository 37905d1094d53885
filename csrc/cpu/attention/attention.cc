#include "attention.h"

#include <algorithm>
#include <stdexcept>
#include <type_traits>
#include <vector>

#include "kernels.h"

namespace codex {
namespace {

// Rows first .. first + count of one prompt.
struct Rows {
  int64_t first;
  int64_t count;
};

template <class Stored>
const AttentionKernels<Stored>& kernels_for(Instructions instructions) {
  if (!has_instructions(instructions)) throw std::invalid_argument("this processor lacks these instructions");
  constexpr bool kHalf = std::is_same_v<Stored, Bfloat16>;
#if defined(__x86_64__)
  if constexpr (kHalf) {
    if (instructions == Instructions::kAvx512) return kBfloat16AttentionAvx512;
    if (instructions == Instructions::kAvx2) return kBfloat16AttentionAvx2;
  } else {
    if (instructions == Instructions::kAvx512) return kFloatAttentionAvx512;
    if (instructions == Instructions::kAvx2) return kFloatAttentionAvx2;
  }
#endif
  if constexpr (kHalf) {
    return kBfloat16AttentionScalar;
  } else {
    return kFloatAttentionScalar;
  }
}

// Neighbours of one prompt. A window begins where the length says, so rows that it cuts are of one length.
std::vector<Rows> blocks_of(const SharedPrefixAttention& given) {
  std::vector<Rows> blocks;
  for (int64_t row = 0; row < given.num_rows; ++row) {
    const bool joins = !blocks.empty() && blocks.back().count < kBlockRows &&
                       given.prompt_of_row[row] == given.prompt_of_row[row - 1] &&
                       (given.window == 0 || given.lengths[row] == given.lengths[row - 1]);
    if (joins) {
      ++blocks.back().count;
    } else {
      blocks.push_back({row, 1});
    }
  }
  return blocks;
}

template <class Stored>
AttentionBlock<Stored> block_of(const SharedPrefixAttention& given, Rows rows, int64_t head) {
  const int64_t prompt = given.prompt_of_row[rows.first];
  const int64_t prompt_start = (prompt * given.num_heads + head) * given.head_size * given.room;
  const int64_t own_start = rows.first * given.row_stride + head * given.head_stride;
  AttentionBlock<Stored> block;
  block.queries = static_cast<const Stored*>(given.queries) + rows.first * given.query_row_stride +
                  head * given.query_head_stride;
  block.query_stride = given.query_row_stride;
  block.prompt_keys = static_cast<const Stored*>(given.prompt_keys) + prompt_start;
  block.prompt_values = static_cast<const Stored*>(given.prompt_values) + prompt_start;
  block.room = given.room;
  block.prompt_length = given.prompt_lengths[prompt];
  block.keys = static_cast<const Stored*>(given.keys) + own_start;
  block.values = static_cast<const Stored*>(given.values) + own_start;
  block.row_stride = given.row_stride;
  block.position_stride = given.position_stride;
  block.lengths = given.lengths + rows.first;
  block.num_rows = rows.count;
  block.head_size = given.head_size;
  block.window = given.window;
  block.scale = given.scale;
  block.attended = static_cast<Stored*>(given.attended) + (rows.first * given.num_heads + head) * given.head_size;
  block.attended_stride = given.num_heads * given.head_size;
  return block;
}

template <class Stored>
void attend(const SharedPrefixAttention& given, Workers workers) {
  const AttentionKernels<Stored>& kernels = kernels_for<Stored>(workers.instructions);
  const std::vector<Rows> blocks = blocks_of(given);
  if (blocks.empty()) return;
  const int64_t num_blocks = blocks.size();
  const int64_t longest = *std::max_element(given.lengths, given.lengths + given.num_rows);
  const int64_t scratch = scratch_size(given.head_size, given.room, longest), positions = given.room + longest;
  const int64_t num_elements = given.num_rows * given.num_heads * given.head_size * positions;
  share_out(num_blocks * given.num_heads, num_elements, workers, [&](int64_t from, int64_t to) {
    std::vector<float> floats(scratch);
    // A head's prompt stays in the cache from block to block.
    for (int64_t part = from; part < to; ++part) {
      kernels.attend(block_of<Stored>(given, blocks[part % num_blocks], part / num_blocks), floats.data(), positions);
    }
  });
}

}  // namespace

void shared_prefix_attention(const SharedPrefixAttention& given, Workers workers) {
  if (given.element == Element::kBfloat16) {
    attend<Bfloat16>(given, workers);
  } else {
    attend<float>(given, workers);
  }
}

}  // namespace codex
