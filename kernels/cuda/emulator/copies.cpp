// Copies and fills of the fake driver: checked against the live allocations, then done at once or recorded.
#include <sys/mman.h>

#include <algorithm>
#include <cstring>

#include "driver.h"

namespace {

constexpr size_t pages_bytes = 64 << 10;  // whole pages, whatever their size

void* at(CUdeviceptr pointer) { return reinterpret_cast<void*>(pointer); }

// Zeroing much memory maps fresh zero pages instead of writing them.
void fill(unsigned char* begin, unsigned char value, size_t bytes) {
  uintptr_t first = (reinterpret_cast<uintptr_t>(begin) + pages_bytes - 1) / pages_bytes * pages_bytes;
  uintptr_t last = (reinterpret_cast<uintptr_t>(begin) + bytes) / pages_bytes * pages_bytes;
  if (value != 0 || last < first + (1 << 20)) {
    memset(begin, value, bytes);
    return;
  }
  auto middle = reinterpret_cast<unsigned char*>(first), end = reinterpret_cast<unsigned char*>(last);
  memset(begin, 0, size_t(middle - begin));
  if (mmap(middle, last - first, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0) ==
      MAP_FAILED)
    memset(middle, 0, last - first);
  memset(end, 0, size_t(begin + bytes - end));
}

template <class T>
CUresult fill_pattern(CUdeviceptr pointer, T value, size_t count, Stream* stream) {
  if (!is_valid_range(pointer, count * sizeof(T), "memset")) return CUDA_ERROR_INVALID_VALUE;
  return submit(stream, [=] {
    auto begin = static_cast<T*>(at(pointer));
    if (value == 0) fill(reinterpret_cast<unsigned char*>(begin), 0, count * sizeof(T));
    else std::fill(begin, begin + count, value);
    return CUDA_SUCCESS;
  });
}

CUresult copy(void* to, const void* from, size_t bytes, bool to_device, bool from_device, Stream* stream) {
  if (bytes == 0) return CUDA_SUCCESS;
  auto is_valid = [bytes](const void* pointer, bool on_device, const char* what) {
    return on_device ? is_valid_range(reinterpret_cast<uintptr_t>(pointer), bytes, what)
                     : is_valid_host_range(pointer, bytes, what);
  };
  if (!is_valid(to, to_device, "destination of a copy") || !is_valid(from, from_device, "source of a copy"))
    return CUDA_ERROR_INVALID_VALUE;
  // Bytes from the host are taken before the call returns, bytes to the host are there by then.
  std::shared_ptr<std::vector<unsigned char>> staged;
  if (is_put_off(stream) && !from_device) {
    auto begin = static_cast<const unsigned char*>(from);
    staged = std::make_shared<std::vector<unsigned char>>(begin, begin + bytes);
    from = staged->data();
  }
  CUresult error = submit(stream, [=, staged = std::move(staged)] {
    // Checked again: a graph may be replayed after the memory was freed.
    if (!is_valid(to, to_device, "destination of a copy") || !is_valid(from, from_device, "source of a copy"))
      return CUDA_ERROR_ILLEGAL_ADDRESS;
    memmove(to, from, bytes);
    return CUDA_SUCCESS;
  });
  if (error || to_device || !is_put_off(stream)) return error;
  return finish_null_stream();
}

// Synchronous copies run in the legacy default stream, and a capture in progress forbids them.
CUresult copy_now(void* to, const void* from, size_t bytes, bool to_device, bool from_device) {
  if (CUresult error = check_unsafe_call()) return error;
  return copy(to, from, bytes, to_device, from_device, nullptr);
}

template <class T>
CUresult fill_now(CUdeviceptr pointer, T value, size_t count) {
  if (CUresult error = check_unsafe_call()) return error;
  return fill_pattern<T>(pointer, value, count, nullptr);
}

}  // namespace

EXPORT CUresult cuMemcpyHtoD_v2(CUdeviceptr to, const void* from, size_t bytes) {
  DRIVER_CALL(Context);
  return copy_now(at(to), from, bytes, true, false);
}
EXPORT CUresult cuMemcpyDtoH_v2(void* to, CUdeviceptr from, size_t bytes) {
  DRIVER_CALL(Context);
  return copy_now(to, at(from), bytes, false, true);
}
EXPORT CUresult cuMemcpyDtoD_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes) {
  DRIVER_CALL(Context);
  return copy_now(at(to), at(from), bytes, true, true);
}
EXPORT CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void* from, size_t bytes, Stream* stream) {
  DRIVER_CALL(Context);
  return copy(at(to), from, bytes, true, false, stream);
}
EXPORT CUresult cuMemcpyDtoHAsync_v2(void* to, CUdeviceptr from, size_t bytes, Stream* stream) {
  DRIVER_CALL(Context);
  return copy(to, at(from), bytes, false, true, stream);
}
EXPORT CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes, Stream* stream) {
  DRIVER_CALL(Context);
  return copy(at(to), at(from), bytes, true, true, stream);
}

EXPORT CUresult cuMemcpyPeerAsync(CUdeviceptr to, Context*, CUdeviceptr from, Context*, size_t bytes, Stream* stream) {
  DRIVER_CALL(Context);
  return copy(at(to), at(from), bytes, true, true, stream);
}

EXPORT CUresult cuMemsetD8_v2(CUdeviceptr pointer, unsigned char value, size_t count) {
  DRIVER_CALL(Context);
  return fill_now(pointer, value, count);
}
EXPORT CUresult cuMemsetD8Async(CUdeviceptr pointer, unsigned char value, size_t count, Stream* stream) {
  DRIVER_CALL(Context);
  return fill_pattern(pointer, value, count, stream);
}
EXPORT CUresult cuMemsetD16_v2(CUdeviceptr pointer, unsigned short value, size_t count) {
  DRIVER_CALL(Context);
  return fill_now(pointer, value, count);
}
EXPORT CUresult cuMemsetD16Async(CUdeviceptr pointer, unsigned short value, size_t count, Stream* stream) {
  DRIVER_CALL(Context);
  return fill_pattern(pointer, value, count, stream);
}
EXPORT CUresult cuMemsetD32_v2(CUdeviceptr pointer, unsigned value, size_t count) {
  DRIVER_CALL(Context);
  return fill_now(pointer, value, count);
}
EXPORT CUresult cuMemsetD32Async(CUdeviceptr pointer, unsigned value, size_t count, Stream* stream) {
  DRIVER_CALL(Context);
  return fill_pattern(pointer, value, count, stream);
}
