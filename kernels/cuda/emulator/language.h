// CUDA's keywords, built-in variables, vector types, barriers and warp functions for g++.
#pragma once
#include <cstring>

#include "fibre.h"

#define __global__
#define __device__
#define __host__
#define __constant__
#define __forceinline__ inline
#define __grid_constant__
#define __launch_bounds__(...)
#define __align__(bytes) __attribute__((aligned(bytes)))
// Thread-local for the sake of shared_memory.h; one block runs at a time, so it is that block's.
#define __shared__ static thread_local
#define EXTERN_SHARED(name) unsigned char* const name = emulator::dynamic_shared

#define threadIdx (emulator::current->thread_index)
#define blockIdx (emulator::block_index)
#define blockDim (emulator::block_size)
#define gridDim (emulator::grid_size)
constexpr int warpSize = 32;

#define EMULATOR_VECTORS(scalar, name, align2, align4)                                                    \
  struct alignas(align2) name##2 { scalar x, y; };                                                        \
  struct alignas(align4) name##4 { scalar x, y, z, w; };                                                  \
  inline name##2 make_##name##2(scalar x, scalar y) { return {x, y}; }                                    \
  inline name##4 make_##name##4(scalar x, scalar y, scalar z, scalar w) { return {x, y, z, w}; }
EMULATOR_VECTORS(int, int, 8, 16)
EMULATOR_VECTORS(unsigned, uint, 8, 16)
EMULATOR_VECTORS(float, float, 8, 16)
EMULATOR_VECTORS(double, double, 16, 16)
EMULATOR_VECTORS(signed char, char, 2, 4)
EMULATOR_VECTORS(unsigned char, uchar, 2, 4)
EMULATOR_VECTORS(short, short, 4, 8)
EMULATOR_VECTORS(unsigned short, ushort, 4, 8)
EMULATOR_VECTORS(long long, longlong, 16, 16)
EMULATOR_VECTORS(unsigned long long, ulonglong, 16, 16)
#undef EMULATOR_VECTORS
struct int3 { int x, y, z; };
struct float3 { float x, y, z; };
inline int3 make_int3(int x, int y, int z) { return {x, y, z}; }
inline uint3 make_uint3(unsigned x, unsigned y, unsigned z) { return {x, y, z}; }
inline float3 make_float3(float x, float y, float z) { return {x, y, z}; }

inline void __syncthreads() { emulator::wait_for_block(); }
inline void __syncwarp(unsigned mask = ~0u) { emulator::meet(emulator::Collective::Sync, mask, nullptr, nullptr); }
inline void __threadfence() {}
inline void __threadfence_block() {}
inline void __threadfence_system() {}
inline unsigned __activemask() { return emulator::living_lanes(); }
[[noreturn]] inline void __trap() { emulator::fail("__trap()"); }

namespace emulator {

struct ShuffleOperand {
  uint64_t value, result;
  unsigned source;  // lane to read from
};

inline void apply_shuffle(void* const* operands, unsigned lanes) {
  for (unsigned rest = lanes; rest; rest &= rest - 1) {
    auto own = static_cast<ShuffleOperand*>(operands[__builtin_ctz(rest)]);
    // A lane that does not take part gives an undefined value: NaN, or -1.
    bool present = lanes >> own->source & 1;
    own->result = present ? static_cast<ShuffleOperand*>(operands[own->source])->value : ~uint64_t(0);
  }
}

template <class T>
T shuffle(unsigned mask, T value, unsigned source) {
  static_assert(sizeof(T) <= 8, "CUDA shuffles 4 or 8 bytes");
  ShuffleOperand operand = {0, 0, source};
  memcpy(&operand.value, &value, sizeof value);
  meet(Collective::Shuffle, mask, &operand, apply_shuffle);
  memcpy(&value, &operand.result, sizeof value);
  return value;
}

struct VoteOperand {
  bool predicate;
  unsigned ballot;
};

inline void apply_vote(void* const* operands, unsigned lanes) {
  unsigned ballot = 0;
  for (unsigned rest = lanes; rest; rest &= rest - 1) {
    unsigned lane = __builtin_ctz(rest);
    ballot |= unsigned(static_cast<VoteOperand*>(operands[lane])->predicate) << lane;
  }
  for (unsigned rest = lanes; rest; rest &= rest - 1)
    static_cast<VoteOperand*>(operands[__builtin_ctz(rest)])->ballot = ballot;
}

}  // namespace emulator

// `width` is a power of two: the warp falls into sections of that many lanes, which do not see each other. A source
// outside the section gives the lane's own value.
template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32) {
  unsigned lane = emulator::current->lane, first = lane & ~unsigned(width - 1);
  return emulator::shuffle(mask, value, first + (unsigned(source) & unsigned(width - 1)));
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lane_mask, int width = 32) {
  unsigned lane = emulator::current->lane, source = lane ^ unsigned(lane_mask);
  // PTX shfl.bfly: a source in an earlier section is read, one in a later section is not.
  return emulator::shuffle(mask, value, source <= (lane | unsigned(width - 1)) ? source : lane);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32) {
  unsigned lane = emulator::current->lane, source = lane + delta;
  return emulator::shuffle(mask, value, source <= (lane | unsigned(width - 1)) ? source : lane);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32) {
  unsigned lane = emulator::current->lane, first = lane & ~unsigned(width - 1);
  return emulator::shuffle(mask, value, lane >= first + delta ? lane - delta : lane);
}

inline unsigned __ballot_sync(unsigned mask, int predicate) {
  emulator::VoteOperand operand = {predicate != 0, 0};
  emulator::meet(emulator::Collective::Vote, mask, &operand, emulator::apply_vote);
  return operand.ballot;
}
inline int __any_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) != 0; }
inline int __all_sync(unsigned mask, int predicate) { return __ballot_sync(mask, !predicate) == 0; }

template <class T> T __ldg(const T* pointer) { return *pointer; }
template <class T> T __ldcg(const T* pointer) { return *pointer; }
template <class T> T __ldcs(const T* pointer) { return *pointer; }
template <class T> void __stcg(T* pointer, T value) { *pointer = value; }
template <class T> void __stcs(T* pointer, T value) { *pointer = value; }

// Only one thread runs at a time and none is interrupted, so plain code is atomic. Returns the old value.
namespace emulator {
template <class T> struct Same { using type = T; };  // keeps a parameter out of template deduction
template <class T> T exchange(T* pointer, T value) {
  T old = *pointer;
  *pointer = value;
  return old;
}
}  // namespace emulator
template <class T> T atomicAdd(T* p, typename emulator::Same<T>::type v) { return emulator::exchange(p, T(*p + v)); }
template <class T> T atomicSub(T* p, typename emulator::Same<T>::type v) { return emulator::exchange(p, T(*p - v)); }
template <class T> T atomicExch(T* p, typename emulator::Same<T>::type v) { return emulator::exchange(p, v); }
template <class T> T atomicMax(T* p, typename emulator::Same<T>::type v) { return emulator::exchange(p, *p < v ? v : *p); }
template <class T> T atomicMin(T* p, typename emulator::Same<T>::type v) { return emulator::exchange(p, v < *p ? v : *p); }
template <class T> T atomicOr(T* p, typename emulator::Same<T>::type v) { return emulator::exchange(p, T(*p | v)); }
template <class T> T atomicAnd(T* p, typename emulator::Same<T>::type v) { return emulator::exchange(p, T(*p & v)); }
// Adds one, and wraps to zero past `limit`.
inline unsigned atomicInc(unsigned* p, unsigned limit) { return emulator::exchange(p, *p >= limit ? 0 : *p + 1); }
template <class T>
T atomicCAS(T* p, typename emulator::Same<T>::type expected, typename emulator::Same<T>::type v) {
  return emulator::exchange(p, *p == expected ? v : *p);
}
