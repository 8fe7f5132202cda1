// Emulated tensor-core product, ldmatrix and asynchronous copies: each runs once for the whole warp, on the operands
// its 32 lanes brought. Fragment layouts: PTX ISA, "Matrix fragments for mma.m16n8k16" and "ldmatrix".
#pragma GCC optimize("O3")  // most of the time of a test goes by here
#include "tensor.h"

#include <cstring>

namespace emulator {

namespace {

// Eight at a time, as the processor has them (in two pieces where it is narrower).
using Floats = float __attribute__((vector_size(32)));
using Integers = int32_t __attribute__((vector_size(32)));
using Words = uint32_t __attribute__((vector_size(32)));
using Halves = uint16_t __attribute__((vector_size(16)));

// Same values as float_from_half, but for the bits of a NaN. Subnormal halves, which the low parts of split numbers
// often are, go through an integer conversion: no subnormal float occurs, and processors are slow with those.
inline __attribute__((always_inline)) void widen(const uint16_t* halves, float* floats) {
  Halves packed;
  memcpy(&packed, halves, sizeof packed);
  Words bits = __builtin_convertvector(packed, Words), magnitude = bits & 0x7fff;
  Words normal = (magnitude << 13) + (112 << 23) + (Words(magnitude >= 0x7c00) & (112 << 23));
  Floats scaled = __builtin_convertvector(Integers(magnitude), Floats) * 0x1p-24f;
  Words subnormal, is_normal = Words(magnitude >= 0x400);
  memcpy(&subnormal, &scaled, sizeof subnormal);
  Words result = (normal & is_normal) | (subnormal & ~is_normal) | (bits & 0x8000) << 16;
  memcpy(floats, &result, sizeof result);
}

void require_full_warp(unsigned lanes, const char* what) {
  if (lanes != ~0u) fail("%s with lanes %08x only: all 32 must take part", what, lanes);
}

template <class Store>
void load_matrices(void* const* operands, unsigned lanes, Store store) {
  require_full_warp(lanes, "ldmatrix");
  auto operand = [&](int lane) { return static_cast<LoadMatrixOperand*>(operands[lane]); };
  for (int lane = 0; lane < 32; lane++) {
    const unsigned char* row = operand(lane)->row;
    if (reinterpret_cast<uintptr_t>(row) % 16) fail("ldmatrix: row address %p of lane %d is not 16-byte aligned", row, lane);
    if (!is_shared(row, 16)) fail("ldmatrix: row address %p of lane %d is not in shared memory", row, lane);
  }
  for (int matrix = 0; matrix < 4; matrix++) {
    uint16_t values[8][8];
    for (int row = 0; row < 8; row++) memcpy(values[row], operand(matrix * 8 + row)->row, 16);
    for (int lane = 0; lane < 32; lane++) operand(lane)->result[matrix] = store(values, lane / 4, lane % 4 * 2);
  }
}

}  // namespace

// d (16 x 8, float) += a (16 x 16, half) * b (16 x 8, half). Products are exact in float; sums are rounded to float
// one after another, where the GPU adds several with its own rounding.
#if defined(__x86_64__) && defined(__GLIBC__)
__attribute__((target_clones("avx2", "default")))
#endif
void multiply_16_8_16(float (*d)[8], const uint16_t (*a)[16], const uint16_t (*b)[8]) {
  alignas(32) float left[16][16], right[16][8];
  for (int k = 0; k < 16; k++) widen(b[k], right[k]);
  for (int row = 0; row < 16; row++) {
    widen(a[row], left[row]);
    widen(a[row] + 8, left[row] + 8);
  }
  // Four rows at a time: four chains of sums that do not wait for each other.
  for (int row = 0; row < 16; row += 4) {
    Floats sums[4], columns;
    memcpy(sums, d[row], sizeof sums);
    for (int k = 0; k < 16; k++) {
      memcpy(&columns, right[k], sizeof columns);
#pragma GCC unroll 4
      for (int i = 0; i < 4; i++) sums[i] += columns * left[row + i][k];
    }
    memcpy(d[row], sums, sizeof sums);
  }
}

#if defined(__x86_64__) && defined(__GLIBC__)
__attribute__((target_clones("avx2", "default")))
#endif
void multiply_rows(float (*sums)[256], const uint16_t (*left)[16], unsigned rows, const uint16_t (*right)[16],
                   unsigned columns) {
  alignas(32) float values[16], factors[16][256];
  for (unsigned column = 0; column < columns; column++) {
    widen(right[column], values);
    widen(right[column] + 8, values + 8);
    for (int k = 0; k < 16; k++) factors[k][column] = values[k];
  }
  for (unsigned row = 0; row < rows; row++) {
    widen(left[row], values);
    widen(left[row] + 8, values + 8);
    for (unsigned column = 0; column < columns; column += 32) {
      Floats chains[4], factor;
      memcpy(chains, sums[row] + column, sizeof chains);
      for (int k = 0; k < 16; k++)
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) {
          memcpy(&factor, factors[k] + column + i * 8, sizeof factor);
          chains[i] += factor * values[k];
        }
      memcpy(sums[row] + column, chains, sizeof chains);
    }
  }
}

void apply_mma(void* const* operands, unsigned lanes) {
  require_full_warp(lanes, "mma");
  float d[16][8];
  uint16_t a[16][16], b[16][8];
  for (int lane = 0; lane < 32; lane++) {
    auto operand = static_cast<const MmaOperand*>(operands[lane]);
    int group = lane / 4, pair = lane % 4 * 2;
    for (int i = 0; i < 4; i++) {
      memcpy(&a[group + i % 2 * 8][pair + i / 2 * 8], &operand->a[i], 4);
      d[group + i / 2 * 8][pair + i % 2] = operand->d[i];
    }
    for (int i = 0; i < 2; i++) {
      b[pair + i * 8][group] = uint16_t(operand->b[i]);
      b[pair + i * 8 + 1][group] = uint16_t(operand->b[i] >> 16);
    }
  }
  multiply_16_8_16(d, a, b);
  for (int lane = 0; lane < 32; lane++)
    for (int i = 0; i < 4; i++)
      static_cast<const MmaOperand*>(operands[lane])->d[i] = d[lane / 4 + i / 2 * 8][lane % 4 * 2 + i % 2];
}

void apply_load_matrix(void* const* operands, unsigned lanes) {
  load_matrices(operands, lanes, [](const uint16_t (*values)[8], int row, int column) {
    return values[row][column] | unsigned(values[row][column + 1]) << 16;
  });
}

void apply_load_matrix_transposed(void* const* operands, unsigned lanes) {
  load_matrices(operands, lanes, [](const uint16_t (*values)[8], int row, int column) {
    return values[column][row] | unsigned(values[column + 1][row]) << 16;
  });
}

void copy_now(const AsyncCopy& copy) {
  auto misaligned = [&copy](const void* pointer) { return reinterpret_cast<uintptr_t>(pointer) % copy.bytes != 0; };
  if (misaligned(copy.shared) || !is_shared(copy.shared, copy.bytes))
    fail("copy_async: %p is not an aligned place of %zu bytes in shared memory", copy.shared, copy.bytes);
  if (!copy.valid) {
    memset(copy.shared, 0, copy.bytes);
    return;
  }
  if (misaligned(copy.global)) fail("copy_async: source %p is not aligned to %zu bytes", copy.global, copy.bytes);
  memcpy(copy.shared, copy.global, copy.bytes);
}

void wait_for_copies(unsigned groups_left) {
  auto& copies = current->copies;
  size_t done = 0;
  while (done < copies.size() && copies[done].group + groups_left < current->copy_groups) copy_now(copies[done++]);
  copies.erase(copies.begin(), copies.begin() + done);
}

}  // namespace emulator
