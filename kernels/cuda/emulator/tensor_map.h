// What the fake driver puts into the 128 opaque bytes of a CUtensorMap, and the emulated copy engine takes out.
#pragma once
#include <cstdint>

namespace emulator {

enum class Swizzle : uint32_t { None = 0, Bytes32 = 1, Bytes64 = 2, Bytes128 = 3 };

struct alignas(64) TensorMap {
  static constexpr uint64_t encoded = 0x6f7374726f6d6170;
  uint64_t mark;  // `encoded` when the driver wrote it
  uint64_t address;
  uint64_t columns, rows, row_bytes;
  uint32_t box_columns, box_rows;
  uint32_t element_bytes;
  Swizzle swizzle;
  uint32_t fills_with_nan;
  unsigned char unused[64];
};
static_assert(sizeof(TensorMap) == 128, "as large as CUtensorMap");

}  // namespace emulator
