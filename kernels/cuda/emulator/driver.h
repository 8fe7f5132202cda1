// Shared state of the fake CUDA driver: its objects, the frame of every exported call, and the few types of cuda.h that
// it needs (values and layouts from the CUDA 12 headers). All calls are synchronous and serialised by one lock.
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "kernel_table.h"

#define EXPORT extern "C" __attribute__((visibility("default")))

using CUresult = int;
using CUdevice = int;
using CUdeviceptr = unsigned long long;

constexpr CUresult CUDA_SUCCESS = 0, CUDA_ERROR_INVALID_VALUE = 1, CUDA_ERROR_OUT_OF_MEMORY = 2,
    CUDA_ERROR_NOT_INITIALIZED = 3, CUDA_ERROR_NO_DEVICE = 100, CUDA_ERROR_INVALID_DEVICE = 101,
    CUDA_ERROR_INVALID_IMAGE = 200, CUDA_ERROR_INVALID_CONTEXT = 201, CUDA_ERROR_FILE_NOT_FOUND = 301,
    CUDA_ERROR_INVALID_HANDLE = 400, CUDA_ERROR_ILLEGAL_STATE = 401, CUDA_ERROR_NOT_FOUND = 500,
    CUDA_ERROR_NOT_READY = 600, CUDA_ERROR_ILLEGAL_ADDRESS = 700, CUDA_ERROR_NOT_SUPPORTED = 801,
    CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED = 900, CUDA_ERROR_STREAM_CAPTURE_INVALIDATED = 901,
    CUDA_ERROR_STREAM_CAPTURE_UNMATCHED = 903, CUDA_ERROR_STREAM_CAPTURE_UNJOINED = 904,
    CUDA_ERROR_STREAM_CAPTURE_ISOLATION = 905, CUDA_ERROR_STREAM_CAPTURE_IMPLICIT = 906,
    CUDA_ERROR_CAPTURED_EVENT = 907, CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD = 908, CUDA_ERROR_UNKNOWN = 999;

// One operation of a stream: done at once, or kept in a graph and done at each launch of it.
using Operation = std::function<CUresult()>;

struct Graph {
  std::vector<Operation> operations;
};

// Recording of one or more streams into a graph, from begin to end of the capture.
struct Capture {
  std::unique_ptr<Graph> graph = std::make_unique<Graph>();
  struct Stream* origin;
  int mode;  // 0 global, 1 thread local, 2 relaxed
  uintptr_t thread;
  std::set<struct Stream*> unjoined;  // other streams with work that the origin has not waited for
  bool invalidated = false;
};

struct Context {
  CUdevice device;
  int references;  // primary contexts only
};

struct Stream {
  Context* context;
  unsigned flags;
  int priority;
  std::shared_ptr<Capture> capture;  // of the capture it takes part in
};

struct Event {
  explicit Event(unsigned flags_) : flags(flags_) {}
  unsigned flags;
  bool recorded = false;
  double time_ms = 0;
  Stream* stream = nullptr;           // where it was last recorded
  std::shared_ptr<Capture> capture;  // set when last recorded in a capture
};

struct Function {
  const emulator::Kernel* kernel;
  struct Module* module;
  size_t static_shared_bytes;
  int dynamic_shared_max;
};
struct Module {
  std::map<std::string, size_t> static_shared_bytes;  // by kernel
  size_t shared_alignment = 128;                      // of dynamic shared memory
  std::map<std::string, std::unique_ptr<Function>> functions;
};

// Handles given out and not destroyed yet; a call with any other answers CUDA_ERROR_INVALID_HANDLE.
template <class T>
struct Handles {
  std::set<T*> live;
  T* add(T* object) { return *live.insert(object).first; }
  bool has(T* object) const { return live.count(object) != 0; }
  bool remove(T* object) {
    if (!live.erase(object)) return false;
    delete object;
    return true;
  }
};

struct Driver {
  std::recursive_mutex mutex;
  bool initialized = false;
  Handles<Context> contexts;
  Context* primary[2] = {};
  Handles<Stream> streams;
  std::map<std::pair<Context*, uintptr_t>, std::unique_ptr<Stream>> default_streams;  // by reserved handle
  Handles<Event> events;
  Handles<Module> modules;
  Handles<Function> functions;  // owned by their modules: only looked up here
  Handles<Graph> graphs, graph_execs;
  std::set<std::shared_ptr<Capture>> captures;  // in progress
};
Driver& driver();

// Settings from the environment, read at first use; see README.md.
struct Settings {
  std::string mode;  // OSTRO_FAKE_CUDA
  int compute_major, compute_minor;
  size_t memory_bytes;
  bool trace;
  struct Failure {
    CUresult error;
    long calls_left;
  };
  std::map<std::string, Failure> failures;  // by call, without _v2
};
Settings& settings();

// Frame of an exported call: holds the lock, and `error` says why the call must not go on.
enum class Needs { Nothing, Init, Context };
struct Call {
  std::lock_guard<std::recursive_mutex> lock;
  CUresult error;
  Call(const char* name, Needs needs);
};
#define DRIVER_CALL(needs)            \
  Call call(__func__, Needs::needs);  \
  if (call.error) return call.error

// device.cpp
Context* current_context();
int device_count();
size_t shared_limit();  // opt-in maximum a block, static and dynamic, by compute capability

// memory.cpp
// Whether a live allocation holds the range; if not, says so on stderr.
bool is_valid_range(CUdeviceptr pointer, size_t bytes, const char* what);
// Pageable host memory is unknown to us and passes; pinned memory must hold the whole range.
bool is_valid_host_range(const void* pointer, size_t bytes, const char* what);
void release_memory_of(CUdevice device);

// streams.cpp
Stream* find_stream(Stream* handle);
// Runs the operation, or records it if the stream captures.
CUresult submit(Stream* handle, Operation operation);
// Error for calls that may not happen while the calling thread captures (allocations, synchronous copies).
CUresult check_unsafe_call();
// The error, after spoiling the stream's capture; prints why.
CUresult invalidate(Stream* stream, CUresult error, const char* why);

// null_stream.cpp
// Whether work of this stream is put off: it is the null stream, and the environment asks for it.
bool is_put_off(Stream* handle);
void put_off(Operation operation);
// A non-blocking stream has work that does not wait for what was put off.
void overtake_null_stream();
bool is_null_stream_overtaken();
// Does what was put off; its first error.
CUresult finish_null_stream();

void complain(const char* format, ...) __attribute__((format(printf, 1, 2)));
