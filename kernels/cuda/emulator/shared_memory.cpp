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

unsigned char* prepare_shared_memory(size_t dynamic_bytes) {
  static unsigned char* mapped = map_dynamic_part();
  if (dynamic_bytes > dynamic_bytes_max) fail("%zu bytes of dynamic shared memory", dynamic_bytes);
  dynamic_part = {mapped + dynamic_bytes_max - (dynamic_bytes + 127) / 128 * 128, dynamic_bytes};
  // The static part differs from one OS thread to the next, so it is looked up for each launch.
  *const_cast<volatile unsigned char*>(&anchor) = 0xFF;
  static_part = {};
  dl_iterate_phdr(find_static_part, nullptr);
  return dynamic_part.begin;
}

void poison_shared_memory() {
  memset(dynamic_part.begin, 0xFF, dynamic_part.size);
  memset(static_part.begin, 0xFF, static_part.size);
}

bool is_shared(const void* pointer, size_t bytes) {
  auto address = static_cast<const unsigned char*>(pointer);
  return dynamic_part.contains(address, bytes) || static_part.contains(address, bytes);
}

}  // namespace emulator
