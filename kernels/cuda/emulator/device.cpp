// Devices and contexts of the fake driver.
#include <pthread.h>

#include <cstdio>
#include <cstring>

#include "driver.h"

namespace {

// The context bound to the calling thread. Not a thread_local: those are the kernels' shared memory (shared_memory.h).
pthread_key_t context_key() {
  static pthread_key_t key = [] {
    pthread_key_t created;
    pthread_key_create(&created, nullptr);
    return created;
  }();
  return key;
}

bool is_device(CUdevice device) { return device >= 0 && device < device_count(); }

int capability() { return settings().compute_major * 10 + settings().compute_minor; }

int attribute(int which, CUdevice device) {
  switch (which) {
    case 1: case 2: case 3: return 1024;                     // threads a block, block x, y
    case 4: return 64;                                       // block z
    case 5: return 0x7fffffff;                               // grid x
    case 6: case 7: return 65535;                            // grid y, z
    case 8: return 48 << 10;                                 // shared memory a block
    case 9: return 64 << 10;                                 // constant memory
    case 10: return 32;                                      // warp size
    case 11: return 0x7fffffff;                              // pitch
    case 12: case 82: return 65536;                          // registers a block, a multiprocessor
    case 13: return 1410000;                                 // clock, kHz
    case 14: return 512;                                     // texture alignment
    case 15: case 19: case 31: case 41: return 1;            // overlap, mapped host memory, concurrency, unified addresses
    case 16: return 4;                                       // multiprocessors
    case 18: case 20: return 0;                              // integrated, compute mode
    case 33: return device + 1;                              // PCI bus
    case 36: return 1215000;                                 // memory clock, kHz
    case 37: return 5120;                                    // bus width, bits
    case 38: return 4 << 20;                                 // level-2 cache
    case 39: return capability() == 75 ? 1024 : 2048;        // threads a multiprocessor
    case 40: return 2;                                       // copy engines
    case 75: return settings().compute_major;
    case 76: return settings().compute_minor;
    case 78: case 79: case 80: case 83: return 1;            // priorities, caches, managed memory
    case 81: return int(shared_limit()) + (capability() == 75 ? 0 : 1024);  // shared a multiprocessor
    case 91: case 92: case 93: case 95: case 99: return 1;   // host pointers, stream memory operations, cooperative
    case 97: return int(shared_limit());                     // shared a block, opt-in
    case 106: return capability() == 75 ? 16 : 32;           // blocks a multiprocessor
    case 111: return capability() == 75 ? 0 : 1024;          // reserved shared memory a block
    case 115: return 1;                                      // memory pools
    case 120: return capability() >= 90;                     // clusters
    default: return 0;
  }
}

}  // namespace

Context* current_context() { return static_cast<Context*>(pthread_getspecific(context_key())); }

int device_count() { return settings().mode == "two-devices" || settings().mode == "faulty-first" ? 2 : 1; }

size_t shared_limit() {
  switch (capability()) {
    case 75: return 64 << 10;
    case 80: case 87: return 163 << 10;
    case 86: case 89: return 99 << 10;
    default: return (settings().compute_major == 12 ? 99 : 227) << 10;
  }
}

EXPORT CUresult cuDeviceGetCount(int* count) {
  DRIVER_CALL(Init);
  *count = device_count();
  return CUDA_SUCCESS;
}

EXPORT CUresult cuDeviceGet(CUdevice* device, int ordinal) {
  DRIVER_CALL(Init);
  if (!is_device(ordinal)) return CUDA_ERROR_INVALID_DEVICE;
  *device = ordinal;
  return CUDA_SUCCESS;
}

EXPORT CUresult cuDeviceGetName(char* name, int length, CUdevice device) {
  DRIVER_CALL(Init);
  if (!is_device(device)) return CUDA_ERROR_INVALID_DEVICE;
  if (device == 0 && settings().mode == "faulty-first") return CUDA_ERROR_UNKNOWN;
  snprintf(name, size_t(length), "Ostro emulated GPU %d", device);
  return CUDA_SUCCESS;
}

// Of the GPU, also where the device is an instance of it.
EXPORT CUresult cuDeviceGetUuid(void* uuid, CUdevice device) {
  DRIVER_CALL(Init);
  if (!is_device(device)) return CUDA_ERROR_INVALID_DEVICE;
  memcpy(uuid, "ostro-fake-gpu-", 15);
  static_cast<char*>(uuid)[15] = char('0' + device);
  return CUDA_SUCCESS;
}

// Of the instance, where the device is one.
EXPORT CUresult cuDeviceGetUuid_v2(void* uuid, CUdevice device) {
  CUresult found = cuDeviceGetUuid(uuid, device);
  if (found == CUDA_SUCCESS && settings().mode == "mig") memcpy(uuid, "instance", 8);
  return found;
}

EXPORT CUresult cuDeviceGetPCIBusId(char* text, int length, CUdevice device) {
  DRIVER_CALL(Init);
  if (!is_device(device)) return CUDA_ERROR_INVALID_DEVICE;
  snprintf(text, size_t(length), "0000:%02X:00.0", device + 1);
  return CUDA_SUCCESS;
}

EXPORT CUresult cuDeviceTotalMem_v2(size_t* bytes, CUdevice device) {
  DRIVER_CALL(Init);
  if (!is_device(device)) return CUDA_ERROR_INVALID_DEVICE;
  *bytes = settings().memory_bytes;
  return CUDA_SUCCESS;
}

EXPORT CUresult cuDeviceGetAttribute(int* value, int which, CUdevice device) {
  DRIVER_CALL(Init);
  if (!is_device(device)) return CUDA_ERROR_INVALID_DEVICE;
  if (which <= 0) return CUDA_ERROR_INVALID_VALUE;
  *value = attribute(which, device);
  return CUDA_SUCCESS;
}

EXPORT CUresult cuDevicePrimaryCtxRetain(Context** context, CUdevice device) {
  DRIVER_CALL(Init);
  if (!is_device(device)) return CUDA_ERROR_INVALID_DEVICE;
  Context*& primary = driver().primary[device];
  if (!primary) primary = driver().contexts.add(new Context{device, 0});
  primary->references++;
  *context = primary;
  return CUDA_SUCCESS;
}

// The context object stays after its last release, so that a handle that is still bound to a thread does not dangle;
// its memory goes, as on the real driver.
EXPORT CUresult cuDevicePrimaryCtxRelease_v2(CUdevice device) {
  DRIVER_CALL(Init);
  if (!is_device(device)) return CUDA_ERROR_INVALID_DEVICE;
  Context* primary = driver().primary[device];
  if (!primary || primary->references == 0) return CUDA_ERROR_INVALID_CONTEXT;
  if (--primary->references == 0) release_memory_of(device);
  return CUDA_SUCCESS;
}

EXPORT CUresult cuDevicePrimaryCtxGetState(CUdevice device, unsigned* flags, int* active) {
  DRIVER_CALL(Init);
  if (!is_device(device)) return CUDA_ERROR_INVALID_DEVICE;
  *flags = 0;
  *active = driver().primary[device] && driver().primary[device]->references > 0;
  return CUDA_SUCCESS;
}
EXPORT CUresult cuDevicePrimaryCtxSetFlags_v2(CUdevice, unsigned) { return CUDA_SUCCESS; }

EXPORT CUresult cuCtxGetCurrent(Context** context) {
  DRIVER_CALL(Init);
  *context = current_context();
  return CUDA_SUCCESS;
}

EXPORT CUresult cuCtxSetCurrent(Context* context) {
  DRIVER_CALL(Init);
  if (context && !driver().contexts.has(context)) return CUDA_ERROR_INVALID_CONTEXT;
  pthread_setspecific(context_key(), context);
  return CUDA_SUCCESS;
}

EXPORT CUresult cuCtxCreate_v4(Context** context, void*, unsigned, CUdevice device) {
  DRIVER_CALL(Init);
  if (!is_device(device)) return CUDA_ERROR_INVALID_DEVICE;
  *context = driver().contexts.add(new Context{device, 0});
  pthread_setspecific(context_key(), *context);
  return CUDA_SUCCESS;
}

EXPORT CUresult cuCtxDestroy_v2(Context* context) {
  DRIVER_CALL(Init);
  if (current_context() == context) pthread_setspecific(context_key(), nullptr);
  for (uintptr_t handle = 0; handle < 3; handle++) driver().default_streams.erase({context, handle});
  return driver().contexts.remove(context) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_CONTEXT;
}

EXPORT CUresult cuCtxGetDevice(CUdevice* device) {
  DRIVER_CALL(Context);
  *device = current_context()->device;
  return CUDA_SUCCESS;
}

EXPORT CUresult cuCtxSynchronize() {
  DRIVER_CALL(Context);
  for (auto& capture : driver().captures)
    if (capture->origin->context == current_context())
      return invalidate(capture->origin, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "cuCtxSynchronize during a capture");
  return finish_null_stream();
}

EXPORT CUresult cuCtxGetStreamPriorityRange(int* least, int* greatest) {
  DRIVER_CALL(Context);
  if (least) *least = 0;
  if (greatest) *greatest = -5;
  return CUDA_SUCCESS;
}

EXPORT CUresult cuCtxSetFlags(unsigned) { DRIVER_CALL(Context); return CUDA_SUCCESS; }
EXPORT CUresult cuCtxSetLimit(int, size_t) { DRIVER_CALL(Context); return CUDA_SUCCESS; }
EXPORT CUresult cuCtxGetLimit(size_t* value, int) { DRIVER_CALL(Context); *value = 0; return CUDA_SUCCESS; }
EXPORT CUresult cuCtxSetCacheConfig(int) { DRIVER_CALL(Context); return CUDA_SUCCESS; }
EXPORT CUresult cuCtxGetCacheConfig(int* value) { DRIVER_CALL(Context); *value = 0; return CUDA_SUCCESS; }
