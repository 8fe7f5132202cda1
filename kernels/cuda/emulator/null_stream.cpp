// What the null stream does late, where the environment asks for it. Fills, and copies of pageable memory, may still be
// under way on a real GPU when their calls return, and a non-blocking stream does not wait for them.
#include <cstdlib>
#include <cstring>

#include "driver.h"

namespace {

std::vector<Operation> late;  // in the order of their calls, under the driver's lock
bool is_overtaken = false;

}  // namespace

bool is_put_off(Stream* handle) {
  const char* value = getenv("OSTRO_FAKE_CUDA_NULL_STREAM");
  return reinterpret_cast<uintptr_t>(handle) < 2 && value && !strcmp(value, "late");
}

void put_off(Operation operation) { late.push_back(std::move(operation)); }

void overtake_null_stream() { is_overtaken = is_overtaken || !late.empty(); }

bool is_null_stream_overtaken() { return is_overtaken; }

CUresult finish_null_stream() {
  std::vector<Operation> operations = std::move(late);
  late.clear();
  is_overtaken = false;
  CUresult first = CUDA_SUCCESS;
  for (const Operation& operation : operations)
    if (CUresult error = operation(); error && !first) first = error;
  return first;
}
