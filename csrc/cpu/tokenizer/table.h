// A large array of zeros that is looked up at random, on huge pages where the kernel gives them: with small ones most
// look-ups would wait for the page tables.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace codex {

constexpr size_t kHugePage = size_t{2} << 20;

// Asks for huge pages where whole ones fit in. A wish: everything works without them, too.
inline void wish_huge_pages(void* memory, size_t num_bytes) {
#if defined(__linux__)
  const uintptr_t begin = (reinterpret_cast<uintptr_t>(memory) + kHugePage - 1) / kHugePage * kHugePage;
  const uintptr_t end = (reinterpret_cast<uintptr_t>(memory) + num_bytes) / kHugePage * kHugePage;
  if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#else
  (void)memory, (void)num_bytes;
#endif
}

template <class Entry>
class Table {
 public:
  explicit Table(size_t size) : size_(size) {
    const size_t num_bytes = size * sizeof(Entry);
    const size_t alignment = num_bytes < kHugePage ? 64 : kHugePage;
    const size_t rounded = (num_bytes + alignment - 1) / alignment * alignment;
    void* const memory = std::aligned_alloc(alignment, rounded);
    if (memory == nullptr) throw std::bad_alloc();
    wish_huge_pages(memory, rounded);
    std::memset(memory, 0, rounded);
    entries_.reset(static_cast<Entry*>(memory));
  }

  Entry& operator[](size_t index) { return entries_[index]; }
  const Entry& operator[](size_t index) const { return entries_[index]; }
  size_t size() const { return size_; }

 private:
  struct Free {
    void operator()(Entry* entries) const { std::free(entries); }
  };

  std::unique_ptr<Entry[], Free> entries_;
  size_t size_;
};

}  // namespace codex
