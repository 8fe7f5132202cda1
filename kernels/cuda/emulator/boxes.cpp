// The emulated copy engine: boxes of a matrix into shared memory (PTX ISA, "cp.async.bulk.tensor", "Swizzling modes").
// A box is there at once, or in adverse order as late as may be: when no thread can go on without it, the last one first.
#include <cstring>
#include <vector>

#include "hopper.h"
#include "tensor_map.h"

namespace emulator {

namespace {

constexpr unsigned chunk_bytes = 16;  // what a swizzle moves

struct Box {
  TensorMap map;
  unsigned char* to;
  unsigned long long* barrier;
  int64_t column, row;

  unsigned row_bytes() const { return map.box_columns * map.element_bytes; }
  unsigned bytes() const { return row_bytes() * map.box_rows; }
};

std::vector<Box> under_way;  // in adverse order

// Address bits 4 and up are mixed with bits 7 and up: as many as the mode says.
unsigned swizzled(unsigned address, Swizzle mode) {
  const unsigned bits = (1u << unsigned(mode)) - 1;
  return address ^ ((address >> 7 & bits) << 4);
}

// One element, or what stands for it outside the matrix.
void copy_element(const Box& box, int64_t row, int64_t column, unsigned char* to) {
  const TensorMap& map = box.map;
  const bool inside = row >= 0 && column >= 0 && uint64_t(row) < map.rows && uint64_t(column) < map.columns;
  if (!inside) {
    memset(to, map.fills_with_nan ? 0xFF : 0, map.element_bytes);
    return;
  }
  auto from = reinterpret_cast<const unsigned char*>(map.address + uint64_t(row) * map.row_bytes);
  memcpy(to, from + uint64_t(column) * map.element_bytes, map.element_bytes);
}

void copy_chunk(const Box& box, unsigned row, unsigned offset, unsigned char* to) {
  const unsigned first = offset / box.map.element_bytes;
  for (unsigned i = 0; i < chunk_bytes / box.map.element_bytes; i++)
    copy_element(box, box.row + row, box.column + first + i, to + i * box.map.element_bytes);
}

void copy_now(const Box& box) {
  const unsigned begin = address_in_window(box.to);
  for (unsigned row = 0; row < box.map.box_rows; row++)
    for (unsigned offset = 0; offset < box.row_bytes(); offset += chunk_bytes) {
      const unsigned address = swizzled(begin + row * box.row_bytes() + offset, box.map.swizzle);
      copy_chunk(box, row, offset, box.to + (address - begin));
    }
  complete_bytes(box.barrier, box.bytes());
}

}  // namespace

void start_box(void* to, const void* map, unsigned long long* barrier, int column, int row) {
  if (reinterpret_cast<uintptr_t>(map) % alignof(TensorMap))
    fail("copy_box: tensor map %p is not aligned to 64 bytes", map);
  Box box = {{}, static_cast<unsigned char*>(to), barrier, column, row};
  memcpy(&box.map, map, sizeof box.map);
  if (box.map.mark != TensorMap::encoded) fail("copy_box: %p is no tensor map", map);
  if (!is_shared(to, box.bytes()) || address_in_window(to) % 128)
    fail("copy_box: %p is not an aligned place of %u bytes in shared memory", to, box.bytes());
  if (box.map.swizzle != Swizzle::None && box.row_bytes() != chunk_bytes << unsigned(box.map.swizzle))
    fail("copy_box: rows of %u bytes, which the emulator cannot swizzle", box.row_bytes());
  require_published(barrier);
  if (adverse) under_way.push_back(box);
  else copy_now(box);
}

bool advance_copies() {
  if (under_way.empty()) return false;
  const Box box = under_way.back();
  under_way.pop_back();
  copy_now(box);
  return true;
}

void require_all_done() {
  if (!under_way.empty()) fail("the block ended while %zu copies of boxes were under way", under_way.size());
  require_products_done();
  forget_barriers();
}

}  // namespace emulator
