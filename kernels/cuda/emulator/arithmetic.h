// CUDA's scalar intrinsics for g++: bit casts, integer minimum and maximum, bit tricks, fast float functions.
// The fast functions are as exact here as the plain ones: the GPU's are off by a few units in the last place.
#pragma once
#include <cassert>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace emulator {
template <class To, class From>
To bit_cast(From from) {
  static_assert(sizeof(To) == sizeof(From), "a bit cast keeps the size");
  To to;
  memcpy(&to, &from, sizeof to);
  return to;
}
}  // namespace emulator

inline int __float_as_int(float value) { return emulator::bit_cast<int>(value); }
inline unsigned __float_as_uint(float value) { return emulator::bit_cast<unsigned>(value); }
inline float __int_as_float(int bits) { return emulator::bit_cast<float>(bits); }
inline float __uint_as_float(unsigned bits) { return emulator::bit_cast<float>(bits); }

#define EMULATOR_MIN_MAX(type)                                     \
  inline type min(type a, type b) { return b < a ? b : a; }        \
  inline type max(type a, type b) { return a < b ? b : a; }
EMULATOR_MIN_MAX(int)
EMULATOR_MIN_MAX(unsigned)
EMULATOR_MIN_MAX(long)
EMULATOR_MIN_MAX(unsigned long)
EMULATOR_MIN_MAX(long long)
EMULATOR_MIN_MAX(unsigned long long)
#undef EMULATOR_MIN_MAX
inline unsigned min(int a, unsigned b) { return min(unsigned(a), b); }
inline unsigned min(unsigned a, int b) { return min(a, unsigned(b)); }
inline unsigned max(int a, unsigned b) { return max(unsigned(a), b); }
inline unsigned max(unsigned a, int b) { return max(a, unsigned(b)); }
inline float min(float a, float b) { return fminf(a, b); }
inline float max(float a, float b) { return fmaxf(a, b); }

inline int __popc(unsigned value) { return __builtin_popcount(value); }
inline int __clz(int value) { return value ? __builtin_clz(unsigned(value)) : 32; }
inline int __ffs(int value) { return __builtin_ffs(value); }
inline unsigned __brev(unsigned value) {
  unsigned result = 0;
  for (int bit = 0; bit < 32; bit++) result |= (value >> bit & 1) << (31 - bit);
  return result;
}
inline unsigned __umulhi(unsigned a, unsigned b) { return unsigned(uint64_t(a) * b >> 32); }
inline int __mulhi(int a, int b) { return int(int64_t(a) * b >> 32); }
inline unsigned __funnelshift_l(unsigned low, unsigned high, unsigned shift) {
  return unsigned(((uint64_t(high) << 32 | low) << (shift & 31)) >> 32);
}
inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned shift) {
  return unsigned((uint64_t(high) << 32 | low) >> (shift & 31));
}
inline int __dp4a(int a, int b, int sum) {
  for (int i = 0; i < 32; i += 8) sum += int(int8_t(a >> i)) * int(int8_t(b >> i));
  return sum;
}
inline unsigned __dp4a(unsigned a, unsigned b, unsigned sum) {
  for (int i = 0; i < 32; i += 8) sum += (a >> i & 255) * (b >> i & 255);
  return sum;
}
// Byte-wise, wrapping round.
inline unsigned __vsub4(unsigned a, unsigned b) {
  unsigned result = 0;
  for (int i = 0; i < 32; i += 8) result |= (((a >> i) - (b >> i)) & 255) << i;
  return result;
}
inline unsigned __vadd4(unsigned a, unsigned b) {
  unsigned result = 0;
  for (int i = 0; i < 32; i += 8) result |= (((a >> i) + (b >> i)) & 255) << i;
  return result;
}

inline float rsqrtf(float value) { return float(1 / sqrt(double(value))); }
inline float __expf(float value) { return expf(value); }
inline float __exp2f(float value) { return exp2f(value); }
inline float __logf(float value) { return logf(value); }
inline float __log2f(float value) { return log2f(value); }
inline float __powf(float base, float exponent) { return powf(base, exponent); }
inline float __sinf(float value) { return sinf(value); }
inline float __cosf(float value) { return cosf(value); }
inline float __fdividef(float a, float b) { return a / b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __frcp_rn(float value) { return 1 / value; }
inline float __fsqrt_rn(float value) { return sqrtf(value); }
inline float __frsqrt_rn(float value) { return rsqrtf(value); }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
inline float __saturatef(float value) { return value > 0 ? (value < 1 ? value : 1) : 0; }
inline void sincospif(float value, float* sine, float* cosine) {
  *sine = float(sin(M_PI * double(value)));
  *cosine = float(cos(M_PI * double(value)));
}

inline float __int2float_rn(int value) { return float(value); }
inline float __uint2float_rn(unsigned value) { return float(value); }

// Float to integer saturates, and NaN gives 0.
namespace emulator {
inline int saturate_to_int(float value) {
  if (std::isnan(value)) return 0;
  return value >= 2147483648.f ? INT32_MAX : value < -2147483648.f ? INT32_MIN : int(value);
}
}  // namespace emulator
inline int __float2int_rn(float value) { return emulator::saturate_to_int(nearbyintf(value)); }
inline int __float2int_rz(float value) { return emulator::saturate_to_int(truncf(value)); }
inline int __float2int_rd(float value) { return emulator::saturate_to_int(floorf(value)); }
inline int __float2int_ru(float value) { return emulator::saturate_to_int(ceilf(value)); }
inline unsigned __float2uint_rn(float value) {
  float rounded = nearbyintf(value);
  return !(rounded > 0) ? 0 : rounded >= 4294967296.f ? UINT32_MAX : unsigned(rounded);
}
