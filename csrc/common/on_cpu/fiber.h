// Fibers: stacks between which one OS thread switches. A CUDA thread of the running block is one.
#pragma once

#include <sys/mman.h>

#include <cstdint>
#include <cstdlib>

#include "sanitizers.h"

#if !defined(__x86_64__)
#error "csrc/common/on_cpu switches stacks of x86-64 only; the kernels' tests need such a machine"
#endif

// Stores the stack pointer through `save` and goes on where `load` was stored. What a called function must keep is on
// the stack; the modes of floating-point arithmetic are not switched, no kernel changes them.
extern "C" void codex_switch_stack(void** save, void* load);
asm(R"(
.text
.weak codex_switch_stack
.type codex_switch_stack,@function
codex_switch_stack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp,(%rdi)
  movq %rsi,%rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size codex_switch_stack,.-codex_switch_stack
.section .note.GNU-stack,"",@progbits
.text
)");

namespace codex::on_cpu {

struct Fiber {
  void* stack_pointer = nullptr;
  SanitizedStack stack;
};

CODEX_UNSEEN inline void switch_fiber(Fiber& from, Fiber& to) {
  leave_stack(from.stack, to.stack);
  codex_switch_stack(&from.stack_pointer, to.stack_pointer);
  enter_stack(from.stack, to.stack);
}

// Memory of many stacks, each above a page that may not be touched: a stack that overflows ends the process.
class Stacks {
 public:
  static constexpr size_t kPage = 4096, kSize = 128 << 10;

  char* bottom(int number) const { return memory_ + number * kSize + kPage; }

  // False where the machine has no memory for them.
  bool make(int count) {
    void* const found = mmap(nullptr, count * kSize, PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (found == MAP_FAILED) return false;
    memory_ = static_cast<char*>(found);
    count_ = count;
    for (int number = 0; number < count; ++number) mprotect(memory_ + number * kSize, kPage, PROT_NONE);
    return true;
  }
  void free() {
    if (memory_ == nullptr) return;
    allow(memory_, count_ * kSize);
    munmap(memory_, count_ * kSize);
    memory_ = nullptr;
  }

 private:
  char* memory_ = nullptr;
  int count_ = 0;
};

// The fiber will begin in `entry`, which takes no argument and never returns.
CODEX_UNSEEN inline void begin_fiber(Fiber& fiber, char* bottom, void (*entry)()) {
  const size_t size = Stacks::kSize - Stacks::kPage;
  fiber.stack = {bottom, size, nullptr, nullptr};
  begin_thread(fiber.stack);
  void** top = reinterpret_cast<void**>(bottom + size - 64);
  *--top = nullptr;  // where entry would return to; keeps the alignment that the ABI has at a function's entry
  *--top = reinterpret_cast<void*>(entry);
  for (int saved = 0; saved < 6; ++saved) *--top = nullptr;
  fiber.stack_pointer = top;
}

}  // namespace codex::on_cpu
