// Frame of the fake driver: state, settings from the environment, injected failures, error names, start-up calls.
#include "driver.h"

#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sstream>

Driver& driver() {
  static Driver* driver = new Driver;  // never destroyed: threads may still call at exit
  return *driver;
}

void complain(const char* format, ...) {
  char text[1024];
  va_list list;
  va_start(list, format);
  vsnprintf(text, sizeof text, format, list);
  va_end(list);
  fprintf(stderr, "fake CUDA driver: %s\n", text);
}

namespace {

std::string without_version(std::string name) {
  size_t at = name.rfind("_v");
  return at == std::string::npos ? name : name.substr(0, at);
}

std::string variable(const char* name) {
  const char* value = getenv(name);
  return value ? value : "";
}

// "call:N[:error],...": the call fails from its N-th time on, with error 700 unless another is given.
std::map<std::string, Settings::Failure> parse_failures(const std::string& text) {
  std::map<std::string, Settings::Failure> failures;
  std::istringstream list(text);
  for (std::string item; std::getline(list, item, ',');) {
    std::istringstream fields(item);
    std::string name, count = "1", error = "700";
    std::getline(fields, name, ':');
    std::getline(fields, count, ':');
    std::getline(fields, error, ':');
    failures[without_version(name)] = {atoi(error.c_str()), atol(count.c_str()) - 1};
  }
  return failures;
}

Settings read_settings() {
  Settings settings;
  settings.mode = variable("OSTRO_FAKE_CUDA");
  std::string capability = variable("OSTRO_FAKE_CUDA_CC"), megabytes = variable("OSTRO_FAKE_CUDA_MEMORY_MB");
  int both = capability.empty() ? 80 : atoi(capability.c_str());
  settings.compute_major = both / 10;
  settings.compute_minor = both % 10;
  settings.memory_bytes = (megabytes.empty() ? size_t(2048) : strtoull(megabytes.c_str(), nullptr, 10)) << 20;
  settings.trace = !variable("OSTRO_FAKE_CUDA_TRACE").empty();
  settings.failures = parse_failures(variable("OSTRO_FAKE_CUDA_FAIL"));
  return settings;
}

struct ErrorText {
  CUresult error;
  const char *name, *text;
};
#define ERROR_TEXT(name, text) {name, #name, text}
const ErrorText error_texts[] = {
    ERROR_TEXT(CUDA_SUCCESS, "no error"),
    ERROR_TEXT(CUDA_ERROR_INVALID_VALUE, "invalid argument"),
    ERROR_TEXT(CUDA_ERROR_OUT_OF_MEMORY, "out of memory"),
    ERROR_TEXT(CUDA_ERROR_NOT_INITIALIZED, "initialization error"),
    {46, "CUDA_ERROR_DEVICE_UNAVAILABLE", "CUDA-capable device(s) is/are busy or unavailable"},
    ERROR_TEXT(CUDA_ERROR_NO_DEVICE, "no CUDA-capable device is detected"),
    ERROR_TEXT(CUDA_ERROR_INVALID_DEVICE, "invalid device ordinal"),
    ERROR_TEXT(CUDA_ERROR_INVALID_IMAGE, "device kernel image is invalid"),
    ERROR_TEXT(CUDA_ERROR_INVALID_CONTEXT, "invalid device context"),
    {209, "CUDA_ERROR_NO_BINARY_FOR_GPU", "no kernel image is available for execution on the device"},
    {218, "CUDA_ERROR_INVALID_PTX", "a PTX JIT compilation failed"},
    {222, "CUDA_ERROR_UNSUPPORTED_PTX_VERSION", "the provided PTX was compiled with an unsupported toolchain."},
    ERROR_TEXT(CUDA_ERROR_FILE_NOT_FOUND, "file not found"),
    ERROR_TEXT(CUDA_ERROR_INVALID_HANDLE, "invalid resource handle"),
    ERROR_TEXT(CUDA_ERROR_ILLEGAL_STATE, "the operation cannot be performed in the present state"),
    ERROR_TEXT(CUDA_ERROR_NOT_FOUND, "named symbol not found"),
    ERROR_TEXT(CUDA_ERROR_NOT_READY, "device not ready"),
    ERROR_TEXT(CUDA_ERROR_ILLEGAL_ADDRESS, "an illegal memory access was encountered"),
    {701, "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES", "too many resources requested for launch"},
    {719, "CUDA_ERROR_LAUNCH_FAILED", "unspecified launch failure"},
    ERROR_TEXT(CUDA_ERROR_NOT_SUPPORTED, "operation not supported"),
    {803, "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH", "system has unsupported display driver / cuda driver combination"},
    ERROR_TEXT(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "operation not permitted when stream is capturing"),
    ERROR_TEXT(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, "operation failed due to a previous error during capture"),
    ERROR_TEXT(CUDA_ERROR_STREAM_CAPTURE_UNMATCHED, "capture was not initiated in this stream"),
    ERROR_TEXT(CUDA_ERROR_STREAM_CAPTURE_UNJOINED,
               "capturing stream has unjoined work"),
    ERROR_TEXT(CUDA_ERROR_STREAM_CAPTURE_ISOLATION, "dependency created on uncaptured work in another stream"),
    ERROR_TEXT(CUDA_ERROR_STREAM_CAPTURE_IMPLICIT,
               "operation would make the legacy stream depend on a capturing blocking stream"),
    ERROR_TEXT(CUDA_ERROR_CAPTURED_EVENT, "operation not permitted on an event last recorded in a capturing stream"),
    ERROR_TEXT(CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD,
               "attempt to terminate a thread-local capture sequence from another thread"),
    ERROR_TEXT(CUDA_ERROR_UNKNOWN, "unknown error"),
};

CUresult injected_failure(const char* name) {
  auto& failures = settings().failures;
  if (failures.empty()) return CUDA_SUCCESS;
  auto found = failures.find(without_version(name));
  if (found == failures.end() || found->second.calls_left-- > 0) return CUDA_SUCCESS;
  return found->second.error;
}

CUresult find_error_text(CUresult error, const char* ErrorText::* field, const char** text) {
  if (!text) return CUDA_ERROR_INVALID_VALUE;
  *text = nullptr;
  for (const ErrorText& candidate : error_texts)
    if (candidate.error == error) *text = candidate.*field;
  return *text ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

}  // namespace

Settings& settings() {
  static Settings* settings = new Settings(read_settings());
  return *settings;
}

Call::Call(const char* name, Needs needs) : lock(driver().mutex), error(injected_failure(name)) {
  if (error) return;
  if (needs != Needs::Nothing && !driver().initialized) error = CUDA_ERROR_NOT_INITIALIZED;
  else if (needs == Needs::Context && !current_context()) error = CUDA_ERROR_INVALID_CONTEXT;
}

EXPORT CUresult cuInit(unsigned flags) {
  DRIVER_CALL(Nothing);
  if (flags) return CUDA_ERROR_INVALID_VALUE;
  if (settings().mode == "no-device") return CUDA_ERROR_NO_DEVICE;
  if (settings().mode == "unknown") return CUDA_ERROR_UNKNOWN;
  driver().initialized = true;
  return CUDA_SUCCESS;
}

EXPORT CUresult cuDriverGetVersion(int* version) {
  DRIVER_CALL(Nothing);
  if (!version) return CUDA_ERROR_INVALID_VALUE;
  *version = settings().mode == "old-driver" ? 11040 : 12080;
  return CUDA_SUCCESS;
}

EXPORT CUresult cuGetErrorName(CUresult error, const char** text) { return find_error_text(error, &ErrorText::name, text); }
EXPORT CUresult cuGetErrorString(CUresult error, const char** text) { return find_error_text(error, &ErrorText::text, text); }
EXPORT CUresult cuProfilerStart() { return CUDA_SUCCESS; }
EXPORT CUresult cuProfilerStop() { return CUDA_SUCCESS; }
