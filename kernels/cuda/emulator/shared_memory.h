// Shared memory of the emulated block. Static arrays are thread-local variables of this library (see __shared__ in
// language.h): that puts all of them, those in templates too, into one range that can be found and poisoned.
#pragma once
#include <cstddef>

namespace emulator {

// Returns the dynamic part: aligned as asked for, and ending (rounded up to that) at an unmapped page.
unsigned char* prepare_shared_memory(size_t dynamic_bytes, size_t alignment);

// Fills both parts with 0xFF (NaN), so that reads of what the block did not write show.
void poison_shared_memory();

// Fails where the bytes between the dynamic part and that page were written.
void check_shared_memory();

}  // namespace emulator
