// Device and pinned host memory of the fake driver: host memory filled with 0xFF, each allocation ending at an unmapped
// page, so that an access past it stops at once, or in adverse order beginning at one. What is mapped beside it must be
// as it was when it is freed. copies.cpp asks here whether a range is valid.
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "driver.h"

namespace {

constexpr size_t alignment = 256;                // what CUDA promises
constexpr size_t guard_bytes = 64 << 10;         // whole pages, whatever their size
constexpr size_t poison_bytes = 16 << 20;        // of the file mapped again and again below

enum class Kind { Device, Pinned };

struct Allocation {
  size_t bytes;
  Kind kind;
  CUdevice device;
  unsigned char* mapping;
  size_t mapping_bytes;
};

std::map<uintptr_t, Allocation> allocations;  // by address, under the driver's lock
size_t used_bytes[2];

size_t round_up(size_t value, size_t unit) { return (value + unit - 1) / unit * unit; }

// A file full of 0xFF: mapped privately it poisons gigabytes that take no memory until they are written.
int poison_file() {
  static int file = [] {
    int created = memfd_create("ostro-poison", 0);
    std::vector<unsigned char> block(1 << 20, 0xFF);
    for (size_t written = 0; created >= 0 && written < poison_bytes; written += block.size())
      if (write(created, block.data(), block.size()) != ssize_t(block.size())) return -1;
    return created;
  }();
  return file;
}

bool poison(unsigned char* begin, size_t bytes) {
  if (bytes < poison_bytes || poison_file() < 0) {
    memset(begin, 0xFF, bytes);
    return true;
  }
  for (size_t done = 0; done < bytes; done += poison_bytes)
    if (mmap(begin + done, std::min(poison_bytes, bytes - done), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED,
             poison_file(), 0) == MAP_FAILED)
      return false;
  return true;
}

// Maps [guard][slack and data][guard]; the data ends at the second guard, rounded up to the alignment. In adverse order
// it begins at the first: between them the orders stop accesses on both sides.
CUresult allocate(size_t bytes, Kind kind, uintptr_t* address) {
  size_t rounded = round_up(bytes, alignment), data_bytes = round_up(bytes, guard_bytes);
  CUdevice device = current_context()->device;
  if (kind == Kind::Device && used_bytes[device] + rounded > settings().memory_bytes) return CUDA_ERROR_OUT_OF_MEMORY;
  size_t mapping_bytes = data_bytes + 2 * guard_bytes;
  void* memory = mmap(nullptr, mapping_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) return CUDA_ERROR_OUT_OF_MEMORY;
  auto mapping = static_cast<unsigned char*>(memory);
  mprotect(mapping + guard_bytes, data_bytes, PROT_READ | PROT_WRITE);
  if (!poison(mapping + guard_bytes, data_bytes)) {
    munmap(mapping, mapping_bytes);
    return CUDA_ERROR_OUT_OF_MEMORY;
  }
  size_t slack_bytes = emulator::asks_for_adverse() ? 0 : data_bytes - rounded;
  *address = reinterpret_cast<uintptr_t>(mapping + guard_bytes + slack_bytes);
  allocations[*address] = {bytes, kind, device, mapping, mapping_bytes};
  if (kind == Kind::Device) used_bytes[device] += rounded;
  return CUDA_SUCCESS;
}

void unmap(std::map<uintptr_t, Allocation>::iterator found) {
  const Allocation& allocation = found->second;
  size_t rounded = round_up(allocation.bytes, alignment);
  auto begin = reinterpret_cast<const unsigned char*>(found->first);
  auto require_poison = [&](const unsigned char* from, const unsigned char* to) {
    for (; from < to; from++)
      if (*from != 0xFF)
        emulator::fail("byte %td of an allocation of %zu bytes was written", from - begin, allocation.bytes);
  };
  // What lies between the guard pages beside the data is not the owner's: something wrote outside if it changed.
  require_poison(allocation.mapping + guard_bytes, begin);
  require_poison(begin + allocation.bytes, allocation.mapping + allocation.mapping_bytes - guard_bytes);
  if (allocation.kind == Kind::Device) used_bytes[allocation.device] -= rounded;
  munmap(allocation.mapping, allocation.mapping_bytes);
  allocations.erase(found);
}

CUresult release(uintptr_t address, Kind kind) {
  if (CUresult error = finish_null_stream()) return error;  // what is put off may be of this memory
  auto found = allocations.find(address);
  if (found == allocations.end() || found->second.kind != kind) {
    complain("free of %#zx, which is not a live allocation", size_t(address));
    return CUDA_ERROR_INVALID_VALUE;
  }
  unmap(found);
  return CUDA_SUCCESS;
}

// The allocation whose mapping holds the address.
const Allocation* find_allocation(uintptr_t address, uintptr_t* begin) {
  auto after = allocations.upper_bound(address);
  if (after == allocations.begin()) return nullptr;
  auto found = std::prev(after);
  auto mapping_end = reinterpret_cast<uintptr_t>(found->second.mapping) + found->second.mapping_bytes;
  if (address >= mapping_end) return nullptr;
  *begin = found->first;
  return &found->second;
}

CUresult allocate_async(CUdeviceptr* pointer, size_t bytes, Stream* handle) {
  Stream* stream = find_stream(handle);
  if (!stream) return CUDA_ERROR_INVALID_HANDLE;
  if (stream->capture)
    return invalidate(stream, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "allocation in a captured stream (the fake has no "
                      "memory nodes)");
  *pointer = 0;
  if (bytes == 0) return CUDA_SUCCESS;
  uintptr_t address = 0;
  CUresult error = allocate(bytes, Kind::Device, &address);
  *pointer = address;
  return error;
}

CUresult allocate_host(void** pointer, size_t bytes) {
  if (CUresult error = check_unsafe_call()) return error;
  if (bytes == 0) return CUDA_ERROR_INVALID_VALUE;
  return allocate(bytes, Kind::Pinned, reinterpret_cast<uintptr_t*>(pointer));
}

}  // namespace

bool is_valid_range(CUdeviceptr pointer, size_t bytes, const char* what) {
  uintptr_t begin = 0;
  const Allocation* allocation = find_allocation(pointer, &begin);
  if (allocation && pointer + bytes <= begin + allocation->bytes) return true;
  if (bytes == 0) return true;
  if (allocation)
    complain("%s: bytes %llu to %llu of an allocation of %zu bytes", what, pointer - begin, pointer - begin + bytes,
             allocation->bytes);
  else complain("%s: %#llx lies in no live allocation", what, pointer);
  return false;
}

void release_memory_of(CUdevice device) {
  finish_null_stream();
  for (auto next = allocations.begin(); next != allocations.end();) {
    auto found = next++;
    if (found->second.kind == Kind::Device && found->second.device == device) unmap(found);
  }
}

bool is_valid_host_range(const void* pointer, size_t bytes, const char* what) {
  uintptr_t begin;
  if (!find_allocation(reinterpret_cast<uintptr_t>(pointer), &begin)) return pointer != nullptr;
  return is_valid_range(reinterpret_cast<uintptr_t>(pointer), bytes, what);
}

EXPORT CUresult cuMemAlloc_v2(CUdeviceptr* pointer, size_t bytes) {
  DRIVER_CALL(Context);
  if (CUresult error = check_unsafe_call()) return error;
  if (bytes == 0) return CUDA_ERROR_INVALID_VALUE;
  uintptr_t address = 0;
  CUresult error = allocate(bytes, Kind::Device, &address);
  *pointer = address;
  return error;
}

EXPORT CUresult cuMemFree_v2(CUdeviceptr pointer) {
  DRIVER_CALL(Context);
  if (CUresult error = check_unsafe_call()) return error;
  return pointer ? release(pointer, Kind::Device) : CUDA_SUCCESS;
}

EXPORT CUresult cuMemAllocAsync(CUdeviceptr* pointer, size_t bytes, Stream* stream) {
  DRIVER_CALL(Context);
  return allocate_async(pointer, bytes, stream);
}
EXPORT CUresult cuMemAllocFromPoolAsync(CUdeviceptr* pointer, size_t bytes, void*, Stream* stream) {
  DRIVER_CALL(Context);
  return allocate_async(pointer, bytes, stream);
}

EXPORT CUresult cuMemFreeAsync(CUdeviceptr pointer, Stream* handle) {
  DRIVER_CALL(Context);
  Stream* stream = find_stream(handle);
  if (!stream) return CUDA_ERROR_INVALID_HANDLE;
  if (stream->capture)
    return invalidate(stream, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "free in a captured stream");
  return pointer ? release(pointer, Kind::Device) : CUDA_SUCCESS;
}

EXPORT CUresult cuMemHostAlloc(void** pointer, size_t bytes, unsigned) {
  DRIVER_CALL(Context);
  return allocate_host(pointer, bytes);
}
EXPORT CUresult cuMemAllocHost_v2(void** pointer, size_t bytes) {
  DRIVER_CALL(Context);
  return allocate_host(pointer, bytes);
}

EXPORT CUresult cuMemFreeHost(void* pointer) {
  DRIVER_CALL(Context);
  if (CUresult error = check_unsafe_call()) return error;
  return release(reinterpret_cast<uintptr_t>(pointer), Kind::Pinned);
}

EXPORT CUresult cuMemHostGetDevicePointer_v2(CUdeviceptr* device_pointer, void* pointer, unsigned) {
  DRIVER_CALL(Context);
  *device_pointer = reinterpret_cast<uintptr_t>(pointer);
  return CUDA_SUCCESS;
}

EXPORT CUresult cuMemGetInfo_v2(size_t* free, size_t* total) {
  DRIVER_CALL(Context);
  *total = settings().memory_bytes;
  *free = *total - used_bytes[current_context()->device];
  return CUDA_SUCCESS;
}

// Memory pools: one that keeps nothing, so that settings have no effect.
EXPORT CUresult cuDeviceGetDefaultMemPool(void** pool, CUdevice) { *pool = &used_bytes; return CUDA_SUCCESS; }
EXPORT CUresult cuDeviceGetMemPool(void** pool, CUdevice) { *pool = &used_bytes; return CUDA_SUCCESS; }
EXPORT CUresult cuDeviceSetMemPool(CUdevice, void*) { return CUDA_SUCCESS; }
EXPORT CUresult cuMemPoolSetAttribute(void*, int, void*) { return CUDA_SUCCESS; }
EXPORT CUresult cuMemPoolGetAttribute(void*, int, uint64_t* value) { *value = 0; return CUDA_SUCCESS; }
EXPORT CUresult cuMemPoolTrimTo(void*, size_t) { return CUDA_SUCCESS; }
