// Finds, allocates and poisons the emulated block's shared memory; see shared_memory.h.
#include "shared_memory.h"

#include <cstdint>
#include <cstring>
#include <link.h>
#include <sys/mman.h>

#include "fibre.h"

namespace emulator {

namespace {

constexpr size_t dynamic_bytes_max = 256 << 10, guard_bytes = 64 << 10;

struct ByteRange {
  unsigned char* begin;
  size_t size;

  bool contains(const unsigned char* address, size_t bytes) const {
    return address >= begin && address + bytes <= begin + size;
  }
};

ByteRange static_part, dynamic_part;
unsigned char* dynamic_end;  // where the unmapped page begins
unsigned window_begin;       // address of the dynamic part
thread_local unsigned char anchor;  // makes the thread-local block exist; poisoned with the rest

// Called for each loaded library: finds this one and the calling thread's copy of its thread-local block.
int find_static_part(dl_phdr_info* info, size_t, void*) {
  bool is_this_library = false;
  const ElfW(Phdr)* thread_local_segment = nullptr;
  auto here = reinterpret_cast<uintptr_t>(&static_part);
  for (int i = 0; i < info->dlpi_phnum; i++) {
    const ElfW(Phdr)& segment = info->dlpi_phdr[i];
    uintptr_t begin = info->dlpi_addr + segment.p_vaddr;
    if (segment.p_type == PT_LOAD && here >= begin && here < begin + segment.p_memsz) is_this_library = true;
    if (segment.p_type == PT_TLS) thread_local_segment = &segment;
  }
  if (!is_this_library) return 0;
  if (thread_local_segment && info->dlpi_tls_data)
    static_part = {static_cast<unsigned char*>(info->dlpi_tls_data), thread_local_segment->p_memsz};
  return 1;
}

unsigned char* map_dynamic_part() {
  void* memory = mmap(nullptr, dynamic_bytes_max + guard_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
                      -1, 0);
  if (memory == MAP_FAILED) fail("cannot map the dynamic shared memory");
  auto begin = static_cast<unsigned char*>(memory);
  mprotect(begin + dynamic_bytes_max, guard_bytes, PROT_NONE);
  return begin;
}

}  // namespace

unsigned char* prepare_shared_memory(size_t dynamic_bytes, size_t alignment) {
  static unsigned char* mapped = map_dynamic_part();
  if (dynamic_bytes > dynamic_bytes_max) fail("%zu bytes of dynamic shared memory", dynamic_bytes);
  dynamic_end = mapped + dynamic_bytes_max;
  dynamic_part = {dynamic_end - (dynamic_bytes + alignment - 1) / alignment * alignment, dynamic_bytes};
  // The first KiB is the system's. No better aligned than asked for.
  window_begin = unsigned(1024 + alignment % 1024);
  // The static part differs from one OS thread to the next, so it is looked up for each launch.
  *const_cast<volatile unsigned char*>(&anchor) = 0xFF;
  static_part = {};
  dl_iterate_phdr(find_static_part, nullptr);
  return dynamic_part.begin;
}

void poison_shared_memory() {
  memset(dynamic_part.begin, 0xFF, size_t(dynamic_end - dynamic_part.begin));
  memset(static_part.begin, 0xFF, static_part.size);
}

void check_shared_memory() {
  for (unsigned char* at = dynamic_part.begin + dynamic_part.size; at < dynamic_end; at++)
    if (*at != 0xFF)
      fail("byte %td of %zu bytes of dynamic shared memory was written", at - dynamic_part.begin, dynamic_part.size);
}

unsigned address_in_window(const void* pointer) {
  auto place = static_cast<const unsigned char*>(pointer);
  if (!dynamic_part.contains(place, 1))
    fail("%p is not in dynamic shared memory, where alone the emulator has addresses", pointer);
  return window_begin + unsigned(place - dynamic_part.begin);
}

const void* place_in_window(unsigned address, size_t bytes) {
  const unsigned char* place = dynamic_part.begin + (ptrdiff_t(address) - ptrdiff_t(window_begin));
  if (!dynamic_part.contains(place, bytes)) fail("address %#x lies beyond dynamic shared memory", address);
  return place;
}

bool is_shared(const void* pointer, size_t bytes) {
  auto address = static_cast<const unsigned char*>(pointer);
  return dynamic_part.contains(address, bytes) || static_part.contains(address, bytes);
}

}  // namespace emulator
