// What AddressSanitizer and ThreadSanitizer have to be told about stacks that this program switches itself.
// Without a sanitizer every function here does nothing.
#pragma once

#include <cstddef>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>
#endif

// The scheduler's own bookkeeping is no access of the kernel's: ThreadSanitizer must not see it as one.
#if defined(__SANITIZE_THREAD__)
#define CODEX_UNSEEN __attribute__((no_sanitize("thread")))
#else
#define CODEX_UNSEEN
#endif

namespace codex::on_cpu {

struct SanitizedStack {
  const void* bottom = nullptr;
  size_t size = 0;
  void* fake_stack = nullptr;
  void* thread = nullptr;
};

#if defined(__SANITIZE_ADDRESS__)
inline void leave_stack(SanitizedStack& from, const SanitizedStack& to) {
  __sanitizer_start_switch_fiber(&from.fake_stack, to.bottom, to.size);
}
// `from` learns where its stack lies: of the OS thread's own nobody else knows.
inline void enter_stack(SanitizedStack& to, SanitizedStack& from) {
  __sanitizer_finish_switch_fiber(to.fake_stack, &from.bottom, &from.size);
}
inline void forbid(const void* from, size_t size) { __asan_poison_memory_region(from, size); }
inline void allow(const void* from, size_t size) { __asan_unpoison_memory_region(from, size); }
#else
inline void enter_stack(SanitizedStack&, SanitizedStack&) {}
inline void forbid(const void*, size_t) {}
inline void allow(const void*, size_t) {}
#if defined(__SANITIZE_THREAD__)
CODEX_UNSEEN inline void leave_stack(SanitizedStack& from, const SanitizedStack& to) {
  (void)from;
  __tsan_switch_to_fiber(to.thread, __tsan_switch_to_fiber_no_sync);
}
#else
inline void leave_stack(SanitizedStack&, const SanitizedStack&) {}
#endif
#endif

#if defined(__SANITIZE_THREAD__)
CODEX_UNSEEN inline void begin_thread(SanitizedStack& stack) { stack.thread = __tsan_create_fiber(0); }
CODEX_UNSEEN inline void end_thread(SanitizedStack& stack) { __tsan_destroy_fiber(stack.thread); }
CODEX_UNSEEN inline void name_thread(SanitizedStack& stack) { stack.thread = __tsan_get_current_fiber(); }
// What happened before a release of `tag` happened before what follows an acquire of it.
inline void release(char* tag) { __tsan_release(tag); }
inline void acquire(char* tag) { __tsan_acquire(tag); }
#else
inline void begin_thread(SanitizedStack&) {}
inline void end_thread(SanitizedStack&) {}
inline void name_thread(SanitizedStack&) {}
inline void release(char*) {}
inline void acquire(char*) {}
#endif

}  // namespace codex::on_cpu
