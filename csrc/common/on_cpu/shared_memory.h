// A block's shared memory: arrays begin as NaN, with ground between them that nothing may touch. AddressSanitizer ends
// the process at the access; without it changed ground is found when the block ends.
#pragma once

#include <cstddef>
#include <cstring>

#include "fault.h"
#include "sanitizers.h"

namespace codex::on_cpu {

class SharedMemory {
 public:
  static constexpr size_t kDynamicLimit = 163 << 10;  // what a block of sm_80 can have, the least of the three
  static constexpr size_t kStaticLimit = 48 << 10;    // of every architecture

  SharedMemory() { memset(memory_, kUnwritten, kSize); }

  // Starts a block: whatever the one before wrote is gone.
  CODEX_UNSEEN void begin_block(size_t dynamic_bytes) {
    allow(memory_, kSize);
    memset(memory_, kUnwritten, used_ + kGap);
    forbid(memory_, kSize);
    num_arrays_ = 0;
    used_ = static_bytes_ = 0;
    dynamic_ = take("the dynamic shared memory", nullptr, dynamic_bytes);
  }
  // The array declared at `site`: the block's first thread to come there makes it.
  CODEX_UNSEEN void* array(const char* name, const void* site, size_t bytes) {
    for (int number = 1; number < num_arrays_; ++number)
      if (arrays_[number].site == site) return arrays_[number].data;
    static_bytes_ += bytes;
    if (static_bytes_ > kStaticLimit) fault("shared memory: `%s` goes beyond %zu bytes a block", name, kStaticLimit);
    if (static_bytes_ + arrays_[0].bytes > kDynamicLimit)
      fault("shared memory: `%s` and the dynamic part go beyond %zu bytes a block", name, kDynamicLimit);
    return take(name, site, bytes);
  }
  CODEX_UNSEEN void* dynamic() const { return dynamic_; }

  void check_ground() {
    allow(memory_, kSize);
    const unsigned char* ground = memory_;
    for (int number = 0; number < num_arrays_; ++number) {
      check(ground, arrays_[number].data, arrays_[number].name);
      ground = arrays_[number].data + arrays_[number].bytes;
    }
    check(ground, memory_ + used_ + kGap, arrays_[num_arrays_ - 1].name);
  }

 private:
  struct Array {
    const char* name;
    const void* site;
    unsigned char* data;
    size_t bytes;
  };
  static constexpr int kMaxArrays = 16;
  static constexpr size_t kGap = 256;
  static constexpr unsigned char kUnwritten = 0xff;  // NaN in every type: reading what nobody wrote shows
  static constexpr size_t kSize = kDynamicLimit + kStaticLimit + (kMaxArrays + 2) * 2 * kGap;

  CODEX_UNSEEN void* take(const char* name, const void* site, size_t bytes) {
    const size_t begin = (used_ + kGap + 15) / 16 * 16;
    if (num_arrays_ == kMaxArrays || begin + bytes + kGap > kSize) {
      fault("shared memory: no room for `%s`", name);
      return memory_ + kGap;
    }
    used_ = begin + bytes;
    arrays_[num_arrays_++] = {name, site, memory_ + begin, bytes};
    allow(memory_ + begin, bytes);
    return memory_ + begin;
  }
  static void check(const unsigned char* from, const unsigned char* to, const char* name) {
    for (; from < to; ++from)
      if (*from != kUnwritten) return fault("shared memory: written outside, beside `%s`", name);
  }

  alignas(16) unsigned char memory_[kSize];
  Array arrays_[kMaxArrays];
  int num_arrays_ = 0;
  size_t used_ = 0, static_bytes_ = 0;
  void* dynamic_ = nullptr;
};

}  // namespace codex::on_cpu
