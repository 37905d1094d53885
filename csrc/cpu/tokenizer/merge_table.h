// The perfect hash table behind merges.h.
#pragma once

#include <cstdint>
#include <vector>

#include "merges.h"
#include "table.h"

namespace codex {

class MergeTable {
 public:
  // Pairs must differ. Throws std::invalid_argument for more than 65,535 of them.
  explicit MergeTable(const std::vector<Merge>& merges);

  // Sets what the look-ups of `merges` read; the table must outlive it.
  void lend_to(Merges& merges) const;

 private:
  bool place(const std::vector<Merge>& merges);

  uint32_t slot_mask_;
  uint64_t multiplier_ = 0x9E3779B97F4A7C15ull;
  Table<Merge> slots_;
  std::vector<uint16_t> displacements_;
};

}  // namespace codex
