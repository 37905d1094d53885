// The first fault that a launch ran into, in words; later ones are dropped. No exceptions: kernels are called from C.
#pragma once

#include <atomic>
#include <cstdarg>
#include <cstdio>

namespace codex::on_cpu {

struct FaultText {
  std::atomic<bool> taken{false};
  char text[512] = "";
};
inline FaultText fault_text;

__attribute__((format(printf, 1, 2))) inline void fault(const char* format, ...) {
  if (fault_text.taken.exchange(true)) return;
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(fault_text.text, sizeof fault_text.text, format, arguments);
  va_end(arguments);
}
inline bool faulted() { return fault_text.taken.load(); }
inline void forget_fault() {
  fault_text.text[0] = 0;
  fault_text.taken = false;
}

}  // namespace codex::on_cpu

// Of the last launch: "" where it went well. Valid until the next one.
extern "C" inline __attribute__((used)) const char* codex_on_cpu_fault() {
  return codex::on_cpu::fault_text.text;
}
