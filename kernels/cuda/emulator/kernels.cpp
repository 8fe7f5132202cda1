// Compiles the kernels for the emulator and lists them for the driver: sources in kernel_sources.inc, names in
// kernels.inc.
#include <type_traits>

#include "cuda_emulator.h"
#include "kernel_table.h"

#include "kernel_sources.inc"

namespace {

// Each thread gets its own copy of the arguments, as on a GPU.
template <class Arguments, void (*kernel)(Arguments)>
void run_kernel(const void* arguments) {
  static_assert(std::is_trivially_copyable<Arguments>::value, "arguments are copied to the device as bytes");
  static_assert(sizeof(Arguments) <= 4096, "a kernel takes at most 4096 bytes of arguments");
  kernel(*static_cast<const Arguments*>(arguments));
}

}  // namespace

#define KERNEL(name, Arguments) {#name, run_kernel<Arguments, name>, sizeof(Arguments)},
const emulator::Kernel emulator::kernels[] = {
#include "kernels.inc"
    {nullptr, nullptr, 0},
};
