// The few driver calls self_test.cpp makes, and the check it counts.
#pragma once
#include <cstdarg>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

using CUdeviceptr = unsigned long long;
extern "C" {
int cuInit(unsigned);
int cuDeviceGet(int*, int);
int cuDevicePrimaryCtxRetain(void**, int);
int cuCtxSetCurrent(void*);
int cuModuleLoad(void**, const char*);
int cuModuleLoadData(void**, const void*);
int cuModuleGetFunction(void**, void*, const char*);
int cuFuncSetAttribute(void*, int, int);
int cuStreamCreate(void**, unsigned);
int cuStreamSynchronize(void*);
int cuStreamBeginCapture_v2(void*, int);
int cuStreamEndCapture(void*, void**);
int cuStreamWaitEvent(void*, void*, unsigned);
int cuEventCreate(void**, unsigned);
int cuEventRecord(void*, void*);
int cuGraphInstantiateWithFlags(void**, void*, unsigned long long);
int cuGraphLaunch(void*, void*);
int cuGraphGetNodes(void*, void**, size_t*);
int cuGraphDestroy(void*);
int cuGraphExecDestroy(void*);
int cuLaunchKernel(void*, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void*, void**, void**);
int cuMemAlloc_v2(CUdeviceptr*, size_t);
int cuMemAllocAsync(CUdeviceptr*, size_t, void*);
int cuMemFree_v2(CUdeviceptr);
int cuMemGetInfo_v2(size_t*, size_t*);
int cuMemcpyHtoD_v2(CUdeviceptr, const void*, size_t);
int cuMemcpyHtoDAsync_v2(CUdeviceptr, const void*, size_t, void*);
int cuMemcpyDtoH_v2(void*, CUdeviceptr, size_t);
int cuMemsetD8Async(CUdeviceptr, unsigned char, size_t, void*);
}

extern int passed, failed;

inline void check(bool condition, const char* format, ...) __attribute__((format(printf, 2, 3)));
inline void check(bool condition, const char* format, ...) {
  (condition ? passed : failed)++;
  if (condition) return;
  va_list list;
  va_start(list, format);
  printf("FAILED ");
  vprintf(format, list);
  printf("\n");
  va_end(list);
}

// Mirror of the struct in self_test.cu.
struct SelfTestArgs {
  CUdeviceptr input, input_bits, output, output_bits;
  unsigned count;
};

// Device memory that holds a vector's values.
template <class T>
struct Buffer {
  CUdeviceptr pointer = 0;
  size_t count;
  explicit Buffer(size_t count_) : count(count_) { check(cuMemAlloc_v2(&pointer, count * sizeof(T)) == 0, "allocation"); }
  explicit Buffer(const std::vector<T>& values) : Buffer(values.size()) {
    check(cuMemcpyHtoD_v2(pointer, values.data(), count * sizeof(T)) == 0, "copy to the device");
  }
  Buffer(const Buffer&) = delete;
  ~Buffer() { cuMemFree_v2(pointer); }
  std::vector<T> read() const {
    std::vector<T> values(count);
    check(cuMemcpyDtoH_v2(values.data(), pointer, count * sizeof(T)) == 0, "copy to the host");
    return values;
  }
};

void* find_kernel(const char* name);
int launch(const char* name, const SelfTestArgs& arguments, unsigned blocks, unsigned threads, unsigned shared_bytes,
           void* stream);

// Calls `body` in a child process; its exit status (or 128 + signal), and what it printed to stderr.
std::pair<int, std::string> run_in_child(void (*body)());

// Calls it in a child process, which must abort with this message.
void test_abort(const char* name, void (*body)(), const char* message);

void test_driver();                // self_test_driver.cpp
void test_hopper(bool on_gpu);     // self_test_hopper.cpp
