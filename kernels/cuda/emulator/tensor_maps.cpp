// Tensor maps of the fake driver. Arguments are held to what cuda.h asks of them; of what it allows, the emulated copy
// engine has matrices (rank 2) without interleaving or steps.
#include <cstring>

#include "driver.h"
#include "tensor_map.h"

namespace {

constexpr int data_types = 13;  // those before the packed ones
constexpr size_t type_bytes[data_types] = {1, 2, 4, 4, 8, 8, 2, 4, 8, 2, 4, 4, 4};
constexpr int interleave_none = 0, interleave_32 = 2, swizzle_32 = 1, swizzle_modes = 4, promotions = 4, fills = 2;

struct Tiled {  // the arguments of cuTensorMapEncodeTiled
  int type;
  unsigned rank;
  uint64_t address;
  const uint64_t *sizes, *strides;
  const unsigned *box, *steps;
  int interleave, swizzle, promotion, fill;
};

bool is_floating(int type) { return type >= 6; }

const char* find_fault_of_tensor(const Tiled& a) {
  const uint64_t unit = a.interleave == interleave_32 ? 32 : 16;
  if (a.type < 0 || a.type >= data_types) return "data type";
  if (a.rank == 0 || a.rank > 5 || (a.interleave != interleave_none && a.rank < 3)) return "rank";
  if (a.address % unit) return "address: not aligned to 16 bytes, or 32 when interleaved";
  if (!a.sizes || !a.box || !a.steps || (!a.strides && a.rank > 1)) return "null array";
  for (unsigned i = 0; i < a.rank; i++)
    if (a.sizes[i] == 0 || a.sizes[i] > uint64_t(1) << 32) return "size";
  for (unsigned i = 0; i + 1 < a.rank; i++)
    if (a.strides[i] % unit || a.strides[i] >= uint64_t(1) << 40) return "stride: not a multiple of 16 below 2^40";
  return nullptr;
}

const char* find_fault_of_box(const Tiled& a) {
  for (unsigned i = 0; i < a.rank; i++) {
    if (a.box[i] == 0 || a.box[i] > 256) return "box: not 1 to 256 elements";
    if (a.steps[i] == 0 || a.steps[i] > 8) return "step";
  }
  const uint64_t row_bytes = a.box[0] * type_bytes[a.type];
  if (a.interleave < 0 || a.interleave > interleave_32) return "interleaving";
  if (a.swizzle < 0 || a.swizzle >= swizzle_modes) return "swizzle";
  if (a.interleave == interleave_32 && a.swizzle != swizzle_32) return "swizzle of what is interleaved";
  if (a.interleave == interleave_none && row_bytes % 16) return "box: its rows are not multiples of 16 bytes";
  if (a.interleave == interleave_none && a.swizzle && row_bytes > uint64_t(16) << a.swizzle)
    return "box: its rows are longer than the swizzle";
  if (a.promotion < 0 || a.promotion >= promotions) return "promotion";
  if (a.fill < 0 || a.fill >= fills || (a.fill && !is_floating(a.type))) return "fill";
  return nullptr;
}

CUresult encode(void* map, const Tiled& a) {
  const char* fault = !map || reinterpret_cast<uintptr_t>(map) % 64 ? "place: not aligned to 64 bytes" : nullptr;
  if (!fault) fault = find_fault_of_tensor(a);
  if (!fault) fault = find_fault_of_box(a);
  if (fault) {
    complain("cuTensorMapEncodeTiled: invalid %s", fault);
    return CUDA_ERROR_INVALID_VALUE;
  }
  if (settings().compute_major < 9 || a.rank != 2 || a.interleave != interleave_none || a.steps[1] != 1) {
    complain("cuTensorMapEncodeTiled: before compute capability 9.0, or not a plain matrix");
    return CUDA_ERROR_NOT_SUPPORTED;
  }
  emulator::TensorMap encoded = {};
  encoded.mark = emulator::TensorMap::encoded;
  encoded.address = a.address;
  encoded.columns = a.sizes[0];
  encoded.rows = a.sizes[1];
  encoded.row_bytes = a.strides[0];
  encoded.box_columns = a.box[0];
  encoded.box_rows = a.box[1];
  encoded.element_bytes = uint32_t(type_bytes[a.type]);
  encoded.swizzle = emulator::Swizzle(a.swizzle);
  encoded.fills_with_nan = uint32_t(a.fill);
  memcpy(map, &encoded, sizeof encoded);
  return CUDA_SUCCESS;
}

}  // namespace

// Does not look at the memory: the copies do.
EXPORT CUresult cuTensorMapEncodeTiled(void* map, int type, unsigned rank, void* address, const uint64_t* sizes,
                                       const uint64_t* strides, const unsigned* box, const unsigned* steps,
                                       int interleave, int swizzle, int promotion, int fill) {
  DRIVER_CALL(Init);
  return encode(map, {type, rank, reinterpret_cast<uintptr_t>(address), sizes, strides, box, steps, interleave, swizzle,
                      promotion, fill});
}
