// Modules, functions and launches of the fake driver. Of a module's image only the shared memory of kernels is read:
// functions are those of kernels.inc, by name.
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <sstream>

#include "driver.h"

namespace {

constexpr size_t shared_without_opt_in = 48 << 10;
constexpr int attribute_max_threads = 0, attribute_static_shared = 1, attribute_registers = 4, attribute_ptx_version = 5,
              attribute_binary_version = 6, attribute_dynamic_shared_max = 8, attribute_shared_carveout = 9;

struct LaunchConfig {  // CUlaunchConfig
  unsigned grid_x, grid_y, grid_z, block_x, block_y, block_z, dynamic_shared_bytes;
  Stream* stream;
  void* attributes;
  unsigned attribute_count;
};

// Of PTX: `.shared .align 4 .b8 name[4352];` behind `.entry kernel(`. An image that is no text declares nothing.
std::map<std::string, size_t> static_shared_bytes(const char* image) {
  std::map<std::string, size_t> bytes;
  std::istringstream lines(image);
  for (std::string line, kernel; std::getline(lines, line);) {
    size_t entry = line.find(".entry "), size = line.rfind('[');
    if (entry != std::string::npos) kernel = line.substr(entry + 7, line.find('(', entry) - entry - 7);
    bool is_shared = line.find(".shared .align") != std::string::npos && line.find(".extern") == std::string::npos;
    if (is_shared && size != std::string::npos) bytes[kernel] += strtoull(line.c_str() + size + 1, nullptr, 10);
  }
  return bytes;
}

// `.extern .shared .align 1024 .b8 name[];`
size_t shared_alignment(const std::string& image) {
  const std::string declaration = ".extern .shared .align ";
  const size_t found = image.find(declaration);
  if (found == std::string::npos) return 128;
  return std::max<size_t>(16, strtoull(&image[found + declaration.size()], nullptr, 10));
}

CUresult load(Module** module, const void* image) {
  if (!image) return CUDA_ERROR_INVALID_VALUE;
  *module = driver().modules.add(new Module);
  (*module)->static_shared_bytes = static_shared_bytes(static_cast<const char*>(image));
  (*module)->shared_alignment = shared_alignment(static_cast<const char*>(image));
  return CUDA_SUCCESS;
}

size_t dynamic_shared_max(const Function& function) {
  size_t without_opt_in = shared_without_opt_in - std::min(shared_without_opt_in, function.static_shared_bytes);
  return std::max<size_t>(without_opt_in, function.dynamic_shared_max);
}

const char* find_fault(const Function& function, const LaunchConfig& config) {
  uint64_t threads = uint64_t(config.block_x) * config.block_y * config.block_z;
  if (threads == 0 || threads > 1024 || config.block_x > 1024 || config.block_y > 1024 || config.block_z > 64)
    return "block size";
  if (config.grid_x == 0 || config.grid_y == 0 || config.grid_z == 0 || config.grid_x > 0x7fffffff ||
      config.grid_y > 65535 || config.grid_z > 65535)
    return "grid size";
  if (config.dynamic_shared_bytes > dynamic_shared_max(function))
    return "dynamic shared memory: set CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES for more than 48 KiB";
  return nullptr;
}

CUresult launch(Function* function, const LaunchConfig& config, void** parameters, void** extra) {
  if (!driver().functions.has(function)) return CUDA_ERROR_INVALID_HANDLE;
  if (extra || !parameters || !parameters[0]) return CUDA_ERROR_INVALID_VALUE;
  const emulator::Kernel* kernel = function->kernel;
  if (const char* fault = find_fault(*function, config)) {
    complain("launch of %s with grid (%u, %u, %u), block (%u, %u, %u), %u bytes of shared memory: invalid %s",
             kernel->name, config.grid_x, config.grid_y, config.grid_z, config.block_x, config.block_y, config.block_z,
             config.dynamic_shared_bytes, fault);
    return CUDA_ERROR_INVALID_VALUE;
  }
  struct alignas(64) Unit { unsigned char bytes[64]; };  // as tensor maps want
  std::vector<Unit> arguments((kernel->argument_bytes + sizeof(Unit) - 1) / sizeof(Unit));
  memcpy(arguments.data(), parameters[0], kernel->argument_bytes);
  return submit(config.stream, [kernel, config, arguments, alignment = function->module->shared_alignment] {
    auto start = std::chrono::steady_clock::now();
    emulator::run({kernel->name, kernel->entry, arguments.data(), dim3(config.grid_x, config.grid_y, config.grid_z),
                   dim3(config.block_x, config.block_y, config.block_z), config.dynamic_shared_bytes, alignment});
    if (settings().trace) {
      std::chrono::duration<double, std::milli> time = std::chrono::steady_clock::now() - start;
      fprintf(stderr, "%-32s grid (%u, %u, %u) block (%u, %u, %u) shared %u: %.3f ms\n", kernel->name, config.grid_x,
              config.grid_y, config.grid_z, config.block_x, config.block_y, config.block_z,
              config.dynamic_shared_bytes, time.count());
    }
    return CUDA_SUCCESS;
  });
}

}  // namespace

EXPORT CUresult cuModuleLoadData(Module** module, const void* image) {
  DRIVER_CALL(Context);
  return load(module, image);
}
EXPORT CUresult cuModuleLoadDataEx(Module** module, const void* image, unsigned, int*, void**) {
  DRIVER_CALL(Context);
  return load(module, image);
}
EXPORT CUresult cuModuleLoad(Module** module, const char* path) {
  DRIVER_CALL(Context);
  if (!path || access(path, R_OK)) return CUDA_ERROR_FILE_NOT_FOUND;
  return load(module, path);
}

EXPORT CUresult cuModuleGetFunction(Function** function, Module* module, const char* name) {
  DRIVER_CALL(Context);
  if (!driver().modules.has(module)) return CUDA_ERROR_INVALID_HANDLE;
  for (const emulator::Kernel* kernel = emulator::kernels; kernel->name; kernel++)
    if (!strcmp(kernel->name, name)) {
      auto& found = module->functions[name];
      if (!found) found.reset(driver().functions.add(new Function{kernel, module, module->static_shared_bytes[name], 0}));
      *function = found.get();
      return CUDA_SUCCESS;
    }
  complain("no kernel named %s", name);
  return CUDA_ERROR_NOT_FOUND;
}

EXPORT CUresult cuModuleGetGlobal_v2(CUdeviceptr*, size_t*, Module*, const char*) { return CUDA_ERROR_NOT_FOUND; }

EXPORT CUresult cuModuleUnload(Module* module) {
  DRIVER_CALL(Context);
  if (!driver().modules.has(module)) return CUDA_ERROR_INVALID_HANDLE;
  for (auto& entry : module->functions) driver().functions.live.erase(entry.second.get());
  driver().modules.remove(module);
  return CUDA_SUCCESS;
}

EXPORT CUresult cuFuncGetModule(Module** module, Function* function) {
  DRIVER_CALL(Context);
  if (!driver().functions.has(function)) return CUDA_ERROR_INVALID_HANDLE;
  *module = function->module;
  return CUDA_SUCCESS;
}

EXPORT CUresult cuFuncSetAttribute(Function* function, int attribute, int value) {
  DRIVER_CALL(Context);
  if (!driver().functions.has(function)) return CUDA_ERROR_INVALID_HANDLE;
  if (attribute == attribute_shared_carveout) return CUDA_SUCCESS;
  if (attribute != attribute_dynamic_shared_max || value < 0) return CUDA_ERROR_INVALID_VALUE;
  if (value + function->static_shared_bytes > shared_limit()) {
    complain("%s: %d bytes of dynamic and %zu of static shared memory are more than %zu a block", function->kernel->name,
             value, function->static_shared_bytes, shared_limit());
    return CUDA_ERROR_INVALID_VALUE;
  }
  function->dynamic_shared_max = value;
  return CUDA_SUCCESS;
}

// Registers are not known here: a plausible value.
EXPORT CUresult cuFuncGetAttribute(int* value, int attribute, Function* function) {
  DRIVER_CALL(Context);
  if (!driver().functions.has(function)) return CUDA_ERROR_INVALID_HANDLE;
  int version = settings().compute_major * 10 + settings().compute_minor;
  switch (attribute) {
    case attribute_max_threads: *value = 1024; break;
    case attribute_static_shared: *value = int(function->static_shared_bytes); break;
    case attribute_registers: *value = 64; break;
    case attribute_ptx_version: case attribute_binary_version: *value = version; break;
    case attribute_dynamic_shared_max: *value = int(dynamic_shared_max(*function)); break;
    default: *value = 0;
  }
  return CUDA_SUCCESS;
}

EXPORT CUresult cuFuncSetCacheConfig(Function*, int) { DRIVER_CALL(Context); return CUDA_SUCCESS; }
EXPORT CUresult cuFuncLoad(Function*) { DRIVER_CALL(Context); return CUDA_SUCCESS; }

EXPORT CUresult cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int* blocks, Function* function, int threads,
                                                                     size_t dynamic_shared_bytes, unsigned) {
  DRIVER_CALL(Context);
  if (!driver().functions.has(function)) return CUDA_ERROR_INVALID_HANDLE;
  if (threads <= 0) return CUDA_ERROR_INVALID_VALUE;
  int by_threads = 2048 / ((threads + 31) / 32 * 32);
  int by_shared = int((shared_limit() + 1024) / (function->static_shared_bytes + dynamic_shared_bytes + 1024));
  *blocks = std::min({by_threads, by_shared, 32});
  return CUDA_SUCCESS;
}
EXPORT CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, Function* function, int threads,
                                                            size_t dynamic_shared_bytes) {
  return cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(blocks, function, threads, dynamic_shared_bytes, 0);
}

EXPORT CUresult cuLaunchKernel(Function* function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                               unsigned block_y, unsigned block_z, unsigned dynamic_shared_bytes, Stream* stream,
                               void** parameters, void** extra) {
  DRIVER_CALL(Context);
  return launch(function, {grid_x, grid_y, grid_z, block_x, block_y, block_z, dynamic_shared_bytes, stream, nullptr, 0},
                parameters, extra);
}

// Launch attributes (programmatic launch, priorities, clusters) change nothing here.
EXPORT CUresult cuLaunchKernelEx(const LaunchConfig* config, Function* function, void** parameters, void** extra) {
  DRIVER_CALL(Context);
  return launch(function, *config, parameters, extra);
}

// Grid-wide barriers would need all blocks at once.
EXPORT CUresult cuLaunchCooperativeKernel(Function*, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned,
                                          unsigned, Stream*, void**) {
  DRIVER_CALL(Context);
  return CUDA_ERROR_NOT_SUPPORTED;
}
