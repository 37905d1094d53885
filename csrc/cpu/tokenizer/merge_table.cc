#include "merge_table.h"

#include <algorithm>
#include <numeric>
#include <stdexcept>

namespace codex {
namespace {

constexpr size_t kMaxMerges = kNoToken;

uint32_t num_slots(size_t num_merges) {
  if (num_merges > kMaxMerges) throw std::invalid_argument("a vocabulary must have fewer than 65,536 merges");
  return num_merges > 52'000 ? 1u << 17 : 1u << 16;  // four fifths full at most: 512 KB for the usual 50,000
}

}  // namespace

MergeTable::MergeTable(const std::vector<Merge>& merges)
    : slot_mask_(num_slots(merges.size()) - 1), slots_(slot_mask_ + 1), displacements_(1 << Merges::kBucketBits) {
  // Two pairs of one bucket that only their displacement tells apart cannot be placed: then another multiplier can.
  while (!place(merges)) multiplier_ = multiplier_ * 0xD6E8FEB86659FD93ull + 2;
}

// "Hash, displace and compress": the fullest buckets first, each with the least displacement that puts all its pairs
// into free slots.
bool MergeTable::place(const std::vector<Merge>& merges) {
  for (size_t slot = 0; slot < slots_.size(); ++slot) slots_[slot] = {~0u, kNoToken};
  std::vector<std::vector<Merge>> buckets(displacements_.size());
  for (const Merge& merge : merges) buckets[bucket_of(merge.pair * multiplier_)].push_back(merge);
  std::vector<uint32_t> order(buckets.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](uint32_t one, uint32_t other) {
    return buckets[one].size() > buckets[other].size();
  });
  std::vector<uint32_t> taken;
  for (const uint32_t bucket : order) {
    uint32_t displacement = 0;
    for (;; ++displacement) {
      if (displacement >> 16 != 0) return false;
      taken.clear();
      for (const Merge& merge : buckets[bucket]) {
        const uint32_t slot = slot_of(merge.pair * multiplier_, static_cast<uint16_t>(displacement), slot_mask_);
        if (slots_[slot].merged != kNoToken) break;
        slots_[slot] = merge;
        taken.push_back(slot);
      }
      if (taken.size() == buckets[bucket].size()) break;
      for (const uint32_t slot : taken) slots_[slot] = {~0u, kNoToken};
    }
    displacements_[bucket] = static_cast<uint16_t>(displacement);
  }
  return true;
}

void MergeTable::lend_to(Merges& merges) const {
  merges.slots = &slots_[0];
  merges.displacements = displacements_.data();
  merges.multiplier = multiplier_;
  merges.slot_mask = slot_mask_;
}

}  // namespace codex
