// The context switch between fibres: a jump to another stack on x86-64, ucontext elsewhere (or with
// OSTRO_EMULATOR_UCONTEXT). Floating-point control words are not saved: kernels do not change them.
#pragma once
#include <cstddef>
#include <cstdint>

#if defined(__x86_64__) && !defined(OSTRO_EMULATOR_UCONTEXT)

namespace emulator {

// Inline and without call or return, so that the processor's predicted return addresses stay right: the fibres mostly
// come from the same calls. All registers are named as changed; the compiler saves those it needs.
inline __attribute__((always_inline)) void switch_context(void** save, void* resume) {
  asm volatile(
      "leaq -128(%%rsp), %%rsp\n\t"  // the red zone may be in use
      "pushq %%rbp\n\t"
      "leaq 1f(%%rip), %%rax\n\t"
      "pushq %%rax\n\t"
      "movq %%rsp, (%[save])\n\t"
      "movq %[resume], %%rsp\n\t"
      "popq %%rax\n\t"
      "jmp *%%rax\n"
      "1:\n\t"
      "popq %%rbp\n\t"
      "leaq 128(%%rsp), %%rsp"
      : [save] "+D"(save), [resume] "+S"(resume)
      :
      : "rax", "rbx", "rcx", "rdx", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "xmm0", "xmm1", "xmm2", "xmm3",
        "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15", "cc",
        "memory");
}

// Prepares a stack so that the first switch to it jumps to `entry`, aligned as after a call; the zero where the return
// address would be ends backtraces.
inline void* start_context(unsigned char* stack_top, size_t, void (*entry)()) {
  auto words = reinterpret_cast<uintptr_t*>(stack_top);
  words[-1] = 0;
  words[-2] = reinterpret_cast<uintptr_t>(entry);
  return words - 2;
}

}  // namespace emulator

#else

#include <ucontext.h>
#include <new>

namespace emulator {

inline void switch_context(void** save, void* resume) {
  ucontext_t here;
  *save = &here;
  swapcontext(&here, static_cast<ucontext_t*>(resume));
}

// The first context lives at the top of the fibre's own stack, below it the stack itself.
inline void* start_context(unsigned char* stack_top, size_t stack_bytes, void (*entry)()) {
  constexpr size_t reserved = (sizeof(ucontext_t) + 63) / 64 * 64;
  auto context = new (stack_top - reserved) ucontext_t;
  getcontext(context);
  context->uc_stack.ss_sp = stack_top - stack_bytes;
  context->uc_stack.ss_size = stack_bytes - reserved;
  context->uc_link = nullptr;
  makecontext(context, entry, 0);
  return context;
}

}  // namespace emulator

#endif
