// Kernels of self_test.cpp: each exercises one part of the emulator and writes what it sees. They compile for a GPU as
// well (with device.cuh), so that what the emulator answers can be compared with the real thing.
#ifdef OSTRO_EMULATED
#include "cuda_emulator.h"
#else
#include "../device.cuh"
#endif

struct SelfTestArgs {
  const float* input;
  const unsigned* input_bits;
  float* output;
  unsigned* output_bits;
  unsigned count;
};

__device__ __forceinline__ float self_test_warp_sum(float value) {
  for (int offset = 16; offset > 0; offset /= 2) value += __shfl_xor_sync(~0u, value, offset);
  return value;
}

// output[block] = sum of input[block * count ..], for count up to any size.
extern "C" __global__ void __launch_bounds__(256) self_test_reduce(const __grid_constant__ SelfTestArgs a) {
  __shared__ float partial[32];
  unsigned warps = (blockDim.x + 31) / 32;
  float sum = 0;
  for (unsigned i = threadIdx.x; i < a.count; i += blockDim.x) sum += __ldg(a.input + blockIdx.x * a.count + i);
  sum = self_test_warp_sum(sum);
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = sum;
  __syncthreads();
  if (threadIdx.x >= 32) return;
  __syncthreads();  // waits only for threads that have not returned
  sum = threadIdx.x < warps ? partial[threadIdx.x] : 0;
  sum = self_test_warp_sum(sum);
  if (threadIdx.x == 0) a.output[blockIdx.x] = sum;
}

// output_bits[i * 32 + lane]: row i is what one warp function answers.
extern "C" __global__ void __launch_bounds__(32) self_test_warp(const __grid_constant__ SelfTestArgs a) {
  unsigned lane = threadIdx.x, value = lane * 100;
  unsigned* row = a.output_bits + lane;
  row[0 * 32] = __shfl_sync(~0u, value, 5);
  row[1 * 32] = __shfl_sync(~0u, value, int(lane) + 33);
  row[2 * 32] = __shfl_xor_sync(~0u, value, 9);
  row[3 * 32] = __shfl_down_sync(~0u, value, 3);
  row[4 * 32] = __shfl_up_sync(~0u, value, 3);
  row[5 * 32] = __shfl_sync(~0u, value, 11, 8);
  row[6 * 32] = __shfl_down_sync(~0u, value, 3, 8);
  row[7 * 32] = __shfl_up_sync(~0u, value, 3, 8);
  row[8 * 32] = __shfl_xor_sync(~0u, value, 4, 16);
  row[9 * 32] = __ballot_sync(~0u, lane % 3 == 0);
  row[10 * 32] = unsigned(__any_sync(~0u, lane == 7)) * 2 + unsigned(__all_sync(~0u, lane != 7));
  row[11 * 32] = prmt(0x83828180u, 0x07060504u + lane, 0x1652u);
  row[12 * 32] = __funnelshift_r(value, 0x89abcdefu, lane) ^ unsigned(__dp4a(int(value), int(0x80fe0203u), -5));
  unsigned part = 0;
  if (lane < 16) part = __shfl_xor_sync(0x0000ffffu, value, 1);
  else part = __shfl_xor_sync(0xffff0000u, value, 2);
  row[13 * 32] = part;
  __syncwarp();
  // 64 bits at once.
  unsigned long long wide = __shfl_sync(~0u, (unsigned long long)value << 32 | lane, 9);
  row[14 * 32] = unsigned(wide >> 32) + unsigned(wide);
  row[15 * 32] = unsigned(__popc(value)) * 1000000 + unsigned(__clz(int(value))) * 1000 + (__brev(value) >> 24);
#ifdef OSTRO_EMULATED
  row[17 * 32] = prmt(0x83828180u, 0x07060504u + lane, 0x9e52u);
  row[18 * 32] = lop3<0xea>(lane * 0x01010101u, 0x3c3c3c3cu, 0x55aa55aau);  // (a & b) | c
#endif
  // The upper lanes have returned: the lower ones meet without them.
  if (lane >= 20) return;
  row[16 * 32] = __shfl_xor_sync(~0u, value, 1);
}

// output (16 x 8) = input (16 x 8) + A (16 x 16, row major) * B (16 x 8, row major); A and B are halves in input_bits,
// two a word: 128 words of A, then 64 of B.
extern "C" __global__ void __launch_bounds__(32) self_test_mma(const __grid_constant__ SelfTestArgs a) {
  unsigned group = threadIdx.x / 4, pair = threadIdx.x % 4 * 2;
  const unsigned short* left = reinterpret_cast<const unsigned short*>(a.input_bits);
  const unsigned short* right = left + 256;
  unsigned fragment_a[4], fragment_b[2];
  float sums[4];
  for (unsigned i = 0; i < 4; i++) {
    unsigned row = group + i % 2 * 8, column = pair + i / 2 * 8;
    fragment_a[i] = left[row * 16 + column] | unsigned(left[row * 16 + column + 1]) << 16;
    sums[i] = a.input[(group + i / 2 * 8) * 8 + pair + i % 2];
  }
  for (unsigned i = 0; i < 2; i++) {
    unsigned row = pair + i * 8;
    fragment_b[i] = right[row * 8 + group] | unsigned(right[(row + 1) * 8 + group]) << 16;
  }
  mma_f16(sums, fragment_a, fragment_b);
  for (unsigned i = 0; i < 4; i++) a.output[(group + i / 2 * 8) * 8 + pair + i % 2] = sums[i];
}

// Four 8 x 8 matrices of halves, element = matrix * 64 + row * 8 + column: what each lane gets, 4 words plain and 4
// transposed.
extern "C" __global__ void __launch_bounds__(32) self_test_ldmatrix(const __grid_constant__ SelfTestArgs a) {
  EXTERN_SHARED(dynamic_shared);
  unsigned short* values = reinterpret_cast<unsigned short*>(dynamic_shared);
  for (unsigned i = threadIdx.x; i < 256; i += 32) values[i] = (unsigned short)i;
  __syncthreads();
  unsigned plain[4], transposed[4];
  ldmatrix_x4(plain, values + threadIdx.x * 8);
  ldmatrix_x4_trans(transposed, values + threadIdx.x * 8);
  for (unsigned i = 0; i < 4; i++) {
    a.output_bits[threadIdx.x * 8 + i] = plain[i];
    a.output_bits[threadIdx.x * 8 + 4 + i] = transposed[i];
  }
}

// For each i below count: output[i] = half i as float, output_bits[i * 4 ..] = float input_bits[i] as half, as bfloat,
// and the halves (i, count - 1 - i) subtracted and fused with the half of input_bits[i].
extern "C" __global__ void __launch_bounds__(256) self_test_half(const __grid_constant__ SelfTestArgs a) {
  unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= a.count) return;
  __half value = __ushort_as_half((unsigned short)i), mirror = __ushort_as_half((unsigned short)(a.count - 1 - i));
  float source = __uint_as_float(a.input_bits[i]);
  __half narrow = __float2half_rn(source);
  a.output[i] = __half2float(value);
  a.output_bits[i * 4] = __half_as_ushort(narrow);
  a.output_bits[i * 4 + 1] = __bfloat16_as_ushort(__float2bfloat16(source));
  __half2 first = __halves2half2(value, mirror), second = __halves2half2(mirror, narrow);
  a.output_bits[i * 4 + 2] = __half_as_ushort(__low2half(__hsub2(first, second)));
  a.output_bits[i * 4 + 3] = __half_as_ushort(__high2half(__hfma2(second, first, first)));
}

// Two buffers filled in turn, 16 bytes a thread, the odd threads with zeros: output = the sum over rounds.
extern "C" __global__ void __launch_bounds__(32) self_test_copy_async(const __grid_constant__ SelfTestArgs a) {
  __shared__ __align__(16) float buffers[2][128];
  auto load = [&](unsigned round) {
    if (round < a.count)
      copy_async_16(&buffers[round % 2][threadIdx.x * 4], a.input + round * 128 + threadIdx.x * 4, threadIdx.x % 2 == 0);
    copy_async_commit();
  };
  float sums[4] = {0, 0, 0, 0};
  load(0);
  for (unsigned round = 0; round < a.count; round++) {
    load(round + 1);
    copy_async_wait<1>();
    __syncthreads();
    for (unsigned i = 0; i < 4; i++) sums[i] += buffers[round % 2][127 - threadIdx.x * 4 - i];
    __syncthreads();
  }
  for (unsigned i = 0; i < 4; i++) a.output[threadIdx.x * 4 + i] = sums[i];
}

// Counts threads in output_bits[0], sums their linear numbers in [1]; the last block to finish writes the number of
// blocks before it to [3] ([2] counts blocks).
extern "C" __global__ void __launch_bounds__(1024) self_test_grid(const __grid_constant__ SelfTestArgs a) {
  unsigned block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
  unsigned thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
  atomicAdd(a.output_bits, 1u);
  atomicAdd(a.output_bits + 1, block * blockDim.x * blockDim.y * blockDim.z + thread);
  atomicAdd(a.output, 0.5f);
  __threadfence();
  __syncthreads();
  if (thread == 0) {
    unsigned before = atomicAdd(a.output_bits + 2, 1u);
    if (before + 1 == gridDim.x * gridDim.y * gridDim.z) a.output_bits[3] = before;
  }
}

#ifdef OSTRO_EMULATED
// What follows breaks the rules, which the emulator must show.

// Reads shared memory that nobody wrote: NaN in every block.
template <int Size>
__device__ float* self_test_fixed_array() {
  __shared__ float fixed[Size];
  return fixed;
}
extern "C" __global__ void __launch_bounds__(32) self_test_uninitialized(const __grid_constant__ SelfTestArgs a) {
  EXTERN_SHARED(dynamic_shared);
  float* dynamic = reinterpret_cast<float*>(dynamic_shared);
  float* fixed = self_test_fixed_array<32>();
  a.output[blockIdx.x * 64 + threadIdx.x] = fixed[threadIdx.x];
  a.output[blockIdx.x * 64 + 32 + threadIdx.x] = dynamic[threadIdx.x];
  fixed[threadIdx.x] = dynamic[threadIdx.x] = 1;
}

// Lacks a barrier between write and read: right in forward order, wrong in reverse.
extern "C" __global__ void __launch_bounds__(64) self_test_race(const __grid_constant__ SelfTestArgs a) {
  __shared__ float values[64];
  values[threadIdx.x] = float(threadIdx.x);
  a.output[threadIdx.x] = threadIdx.x == 0 ? 0 : values[threadIdx.x - 1];
}

// Half of a warp waits for the block, the other half for the warp.
extern "C" __global__ void __launch_bounds__(64) self_test_deadlock(const __grid_constant__ SelfTestArgs) {
  if (threadIdx.x % 32 < 16) __syncthreads();
  else __syncwarp();
}

// Needs more than its stack.
extern "C" __global__ void __launch_bounds__(32) self_test_overflow(const __grid_constant__ SelfTestArgs a) {
  volatile unsigned char values[160 << 10];
  for (unsigned i = 0; i < sizeof values; i++) values[i] = (unsigned char)a.count;
}

// Breaks the rule that `count` says: 0 an index beyond a shared array, 1 a misaligned vector, 2 a shift too far, 3 a
// product that no int holds.
extern "C" __global__ void __launch_bounds__(32) self_test_undefined(const __grid_constant__ SelfTestArgs a) {
  __shared__ float values[32];
  if (a.count == 0) a.output[0] = values[threadIdx.x + 1];
  if (a.count == 1) a.output[0] = reinterpret_cast<const float4*>(a.output + 1)->x;
  if (a.count == 2) a.output_bits[0] = 1u << (a.count + 30);
  if (a.count == 3) a.output_bits[0] = unsigned(int(a.count) * 1000000000);
}

// Writes one float behind its `count`.
extern "C" __global__ void __launch_bounds__(32) self_test_overrun(const __grid_constant__ SelfTestArgs a) {
  if (threadIdx.x == 3) a.output[a.count] = 1;
}

// Writes one float before its first.
extern "C" __global__ void __launch_bounds__(32) self_test_underrun(const __grid_constant__ SelfTestArgs a) {
  if (threadIdx.x == 3) a.output[-1] = 1;
}
#endif
