// The device functions that device.cuh wraps around inline assembly, for the emulator: tensor-core product, ldmatrix,
// asynchronous copies, byte permutation, three-input logic, programmatic launch hooks (which do nothing here).
#pragma once
#include "arithmetic.h"
#include "fibre.h"

namespace emulator {

struct MmaOperand {
  float* d;
  const unsigned *a, *b;
};
struct LoadMatrixOperand {
  unsigned* result;
  const unsigned char* row;
};

// sums (rows x columns) += left (rows x 16) * right (columns x 16, transposed); at most 256 columns, in multiples of 32.
void multiply_rows(float (*sums)[256], const uint16_t (*left)[16], unsigned rows, const uint16_t (*right)[16],
                   unsigned columns);
void apply_mma(void* const* operands, unsigned lanes);
void apply_load_matrix(void* const* operands, unsigned lanes);
void apply_load_matrix_transposed(void* const* operands, unsigned lanes);
void copy_now(const AsyncCopy& copy);
void wait_for_copies(unsigned groups_left);

}  // namespace emulator

inline void mma_f16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  emulator::MmaOperand operand = {d, a, b};
  emulator::meet(emulator::Collective::Mma, ~0u, &operand, emulator::apply_mma);
}

inline void ldmatrix_x4(unsigned (&r)[4], const void* shared_row) {
  emulator::LoadMatrixOperand operand = {r, static_cast<const unsigned char*>(shared_row)};
  emulator::meet(emulator::Collective::LoadMatrix, ~0u, &operand, emulator::apply_load_matrix);
}

inline void ldmatrix_x4_trans(unsigned (&r)[4], const void* shared_row) {
  emulator::LoadMatrixOperand operand = {r, static_cast<const unsigned char*>(shared_row)};
  emulator::meet(emulator::Collective::LoadMatrix, ~0u, &operand, emulator::apply_load_matrix_transposed);
}

// Done at once, or in adverse order as late as the GPU may: at the wait for its group.
namespace emulator {
inline void copy_async(const AsyncCopy& copy) {
  if (adverse) current->copies.push_back(copy);
  else copy_now(copy);
}
}  // namespace emulator
inline void copy_async_16(void* shared, const void* global, bool valid) {
  emulator::copy_async({shared, global, valid, emulator::current->copy_groups, 16});
}
inline void copy_async_8(void* shared, const void* global) {
  emulator::copy_async({shared, global, true, emulator::current->copy_groups, 8});
}
inline void copy_async_commit() { emulator::current->copy_groups++; }
template <int N>
void copy_async_wait() { if (emulator::adverse) emulator::wait_for_copies(N); }

inline void dependency_wait() {}
inline void dependency_launch() {}

inline unsigned prmt(unsigned a, unsigned b, unsigned selector) {
  uint64_t bytes = uint64_t(b) << 32 | a;
  unsigned result = 0;
  for (int i = 0; i < 4; i++) {
    unsigned nibble = selector >> 4 * i & 15, byte = unsigned(bytes >> 8 * (nibble & 7)) & 255;
    if (nibble & 8) byte = byte & 128 ? 255 : 0;
    result |= byte << 8 * i;
  }
  return result;
}
inline unsigned __byte_perm(unsigned a, unsigned b, unsigned selector) { return prmt(a, b, selector & 0x7777); }

template <int LUT>
unsigned lop3(unsigned a, unsigned b, unsigned c) {
  unsigned result = 0;
  for (int row = 0; row < 8; row++)
    if (LUT >> row & 1) result |= (row & 4 ? a : ~a) & (row & 2 ? b : ~b) & (row & 1 ? c : ~c);
  return result;
}
