// Tests of the fake driver itself: limits, captures, graphs, and what it says about broken kernels.
#include <cstring>

#include "self_test.h"

namespace {

void deadlock() { launch("self_test_deadlock", {}, 1, 64, 0, nullptr); }

// One float behind or before an allocation: in one order the access stops, in the other the free that follows.
template <bool in_reverse>
void overrun() {
  setenv("OSTRO_FAKE_CUDA_ORDER", in_reverse ? "reverse" : "forward", 1);
  Buffer<float> output(64);
  launch("self_test_overrun", {0, 0, output.pointer, 0, 64}, 1, 32, 0, nullptr);
}

template <bool in_reverse>
void underrun() {
  setenv("OSTRO_FAKE_CUDA_ORDER", in_reverse ? "reverse" : "forward", 1);
  Buffer<float> output(64);
  launch("self_test_underrun", {0, 0, output.pointer, 0, 0}, 1, 32, 0, nullptr);
}

void use_after_free() {
  CUdeviceptr pointer;
  cuMemAlloc_v2(&pointer, 256);
  cuMemFree_v2(pointer);
  launch("self_test_overrun", {0, 0, pointer, 0, 0}, 1, 32, 0, nullptr);
}

void overflow() { launch("self_test_overflow", {}, 1, 32, 0, nullptr); }

template <unsigned rule>
void undefined() {
  Buffer<float> output(64);
  launch("self_test_undefined", {0, 0, output.pointer, output.pointer, rule}, 1, 32, 0, nullptr);
}

// Recorded launches and fills run at each launch of the graph, in order, with the arguments of the recording.
void test_graph() {
  void *stream, *graph, *exec;
  check(cuStreamCreate(&stream, 1) == 0, "stream");
  Buffer<unsigned> counts(4);
  Buffer<float> halves(std::vector<float>(1, 0.f));
  check(cuStreamBeginCapture_v2(stream, 1) == 0, "begin of a capture");
  {
    SelfTestArgs arguments = {0, 0, halves.pointer, counts.pointer, 0};
    check(cuMemsetD8Async(counts.pointer, 0, 16, stream) == 0, "recorded fill");
    check(launch("self_test_grid", arguments, 2, 40, 0, stream) == 0, "recorded launch");
    memset(&arguments, 0xFF, sizeof arguments);
  }
  check(cuStreamEndCapture(stream, &graph) == 0, "end of a capture");
  size_t nodes = 0;
  check(cuGraphGetNodes(graph, nullptr, &nodes) == 0 && nodes == 2, "%zu nodes", nodes);
  check(cuGraphInstantiateWithFlags(&exec, graph, 0) == 0, "instantiation");
  check(cuGraphDestroy(graph) == 0, "destruction of a graph");
  check(halves.read()[0] == 0, "a recorded launch ran during the capture");
  for (int round = 1; round <= 3; round++) {
    check(cuGraphLaunch(exec, stream) == 0, "graph launch");
    check(counts.read()[0] == 80 && halves.read()[0] == float(round) * 40, "graph launch %d: %u threads, sum %g", round,
          counts.read()[0], halves.read()[0]);
  }
  check(cuGraphExecDestroy(exec) == 0, "destruction of an executable graph");
}

// What must not happen in a capture spoils it, as on the real driver.
void test_capture_rules() {
  void *stream, *other, *event, *graph;
  CUdeviceptr pointer = 0;
  check(cuStreamCreate(&stream, 1) == 0 && cuStreamCreate(&other, 1) == 0 && cuEventCreate(&event, 2) == 0, "handles");
  check(cuEventRecord(event, other) == 0, "record");
  struct { const char* name; int error; int (*call)(void*, void*, CUdeviceptr*); } rules[] = {
      {"synchronize", 900, [](void* s, void*, CUdeviceptr*) { return cuStreamSynchronize(s); }},
      {"allocation", 900, [](void*, void*, CUdeviceptr* p) { return cuMemAlloc_v2(p, 4); }},
      {"allocation in the stream", 900, [](void* s, void*, CUdeviceptr* p) { return cuMemAllocAsync(p, 4, s); }},
      {"wait for an outer event", 905, [](void* s, void* e, CUdeviceptr*) { return cuStreamWaitEvent(s, e, 0); }},
  };
  for (auto& rule : rules) {
    check(cuStreamBeginCapture_v2(stream, 1) == 0, "begin of a capture");
    int error = rule.call(stream, event, &pointer);
    check(error == rule.error, "%s in a capture: error %d, not %d", rule.name, error, rule.error);
    check(cuStreamEndCapture(stream, &graph) == 901 && !graph, "a spoilt capture must end with error 901");
  }
  check(cuStreamBeginCapture_v2(stream, 1) == 0, "begin of a capture");
  check(cuEventRecord(event, stream) == 0 && cuStreamWaitEvent(other, event, 0) == 0, "fork");
  check(cuEventRecord(event, other) == 0 && cuStreamWaitEvent(stream, event, 0) == 0, "join");
  check(cuStreamEndCapture(stream, &graph) == 0, "end of a forked and joined capture");
  check(cuStreamBeginCapture_v2(nullptr, 1) == 900, "capture of the default stream");
}

void test_limits() {
  size_t free_before = 0, free_after = 0, total = 0;
  CUdeviceptr pointer = 0;
  check(cuMemGetInfo_v2(&free_before, &total) == 0 && total == size_t(2048) << 20, "%zu bytes in all", total);
  check(cuMemAlloc_v2(&pointer, total + 1) == 2, "allocation beyond the memory");
  check(cuMemAlloc_v2(&pointer, free_before) == 0, "allocation of all that is free");
  check(cuMemGetInfo_v2(&free_after, &total) == 0 && free_after == 0, "%zu bytes left", free_after);
  CUdeviceptr another = 0;
  check(cuMemAlloc_v2(&another, 1) == 2, "allocation with no memory left");
  unsigned words[2] = {};
  check(cuMemcpyDtoH_v2(words, pointer + free_before - 4, 4) == 0 && words[0] == ~0u, "poison: %#x", words[0]);
  check(cuMemcpyDtoH_v2(words, pointer + free_before - 4, 8) == 1, "copy beyond an allocation");
  check(cuMemcpyHtoD_v2(pointer - 4, words, 8) == 1, "copy before an allocation");
  check(cuMemsetD8Async(pointer, 0, free_before, nullptr) == 0, "fill of all");
  check(cuMemcpyDtoH_v2(words, pointer + free_before / 2 - 4, 8) == 0 && !words[0] && !words[1], "zeroed memory");
  check(cuMemFree_v2(pointer) == 0 && cuMemFree_v2(pointer) == 1, "free, twice");

  void* function = find_kernel("self_test_uninitialized");
  Buffer<float> output(64);
  SelfTestArgs arguments = {0, 0, output.pointer, 0, 0};
  auto launch_with = [&](unsigned bytes) { return launch("self_test_uninitialized", arguments, 1, 32, bytes, nullptr); };
  check(launch_with(48 << 10) == 0 && launch_with((48 << 10) + 16) == 1, "48 KiB of shared memory without opt-in");
  check(cuFuncSetAttribute(function, 8, 163 << 10) == 0 && launch_with(163 << 10) == 0, "opt-in for shared memory");
  check(cuFuncSetAttribute(function, 8, (163 << 10) + 1) == 1, "opt-in beyond the limit");
  check(launch("self_test_race", arguments, 1, 1025, 0, nullptr) == 1, "1025 threads");
  check(launch("self_test_race", arguments, 0, 32, 0, nullptr) == 1, "no blocks");
}

// A kernel's static shared memory, which its PTX declares, leaves less for the dynamic one.
void test_static_shared_memory() {
  const char* ptx = ".visible .entry self_test_uninitialized(\n)\n{\n\t.shared .align 4 .b8 sums[1000];\n"
                    "\t.shared .align 4 .b8 more[24];\n}\n.visible .entry self_test_race(\n)\n{\n}\n";
  void *module, *function, *other;
  check(cuModuleLoadData(&module, ptx) == 0, "module");
  check(cuModuleGetFunction(&function, module, "self_test_uninitialized") == 0, "kernel");
  check(cuModuleGetFunction(&other, module, "self_test_race") == 0, "kernel");
  check(cuFuncSetAttribute(function, 8, 162 << 10) == 0, "opt-in for all that is left");
  check(cuFuncSetAttribute(function, 8, (162 << 10) + 1) == 1, "opt-in beyond what is left");
  check(cuFuncSetAttribute(other, 8, 163 << 10) == 0, "opt-in beside no static memory");
}

// What a non-blocking stream does meanwhile is overwritten, unless somebody waits for the null stream first.
void test_late_null_stream() {
  setenv("OSTRO_FAKE_CUDA_NULL_STREAM", "late", 1);
  void* stream;
  check(cuStreamCreate(&stream, 1) == 0, "stream");
  Buffer<unsigned> words(1);
  const unsigned one = 1, two = 2;
  auto overtake = [&] {
    check(cuMemcpyHtoDAsync_v2(words.pointer, &one, 4, stream) == 0 && cuStreamSynchronize(stream) == 0, "copy");
  };
  check(cuMemsetD8Async(words.pointer, 0, 4, nullptr) == 0, "fill");
  overtake();
  check(words.read()[0] == 0, "a fill that is late gives %u", words.read()[0]);
  check(cuMemcpyHtoD_v2(words.pointer, &two, 4) == 0, "copy");
  overtake();
  check(words.read()[0] == 2, "a copy that is late gives %u", words.read()[0]);
  check(cuMemsetD8Async(words.pointer, 0, 4, nullptr) == 0, "fill");
  // Nothing of this stream is left to wait for, so that the fill is not done either.
  check(cuStreamSynchronize(stream) == 0, "wait");
  overtake();
  check(words.read()[0] == 0, "a wait for another stream did a fill");
  check(cuMemsetD8Async(words.pointer, 0, 4, nullptr) == 0 && cuStreamSynchronize(nullptr) == 0, "fill");
  overtake();
  check(words.read()[0] == 1, "a fill that was waited for gives %u", words.read()[0]);
  check(cuMemsetD8Async(words.pointer, 0, 4, stream) == 0, "fill");
  overtake();
  check(words.read()[0] == 1, "a fill of the stream itself gives %u", words.read()[0]);
  unsetenv("OSTRO_FAKE_CUDA_NULL_STREAM");
}

}  // namespace

void test_driver() {
  test_graph();
  test_capture_rules();
  test_limits();
  test_static_shared_memory();
  test_late_null_stream();
  test_abort("deadlock", deadlock, "deadlock: 32 of 64 living threads wait at __syncthreads; warp 0: lanes ffff0000");
  test_abort("overrun", overrun<false>, "kernel self_test_overrun, block (0, 0, 0), thread (3, 0, 0): access to address");
  test_abort("overrun", overrun<true>, "byte 256 of an allocation of 256 bytes was written");
  test_abort("underrun", underrun<false>, "byte -4 of an allocation of 256 bytes was written");
  test_abort("underrun", underrun<true>, "kernel self_test_underrun, block (0, 0, 0), thread (3, 0, 0): access to address");
  test_abort("overflow", overflow, "stack of a thread overflowed");
  test_abort("index", undefined<0>, "thread (31, 0, 0): ");
  test_abort("index", undefined<0>, "index 32 is outside the array");
  test_abort("alignment", undefined<1>, "is not aligned to 16 bytes");
  test_abort("shift", undefined<2>, "shift by 32 bits");
  test_abort("overflow of an int", undefined<3>, "3 * 1000000000 overflows");
  test_abort("use after free", use_after_free, "access to address");
}
