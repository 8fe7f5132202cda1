// __half, __half2, __nv_bfloat16 and their functions as in cuda_fp16.h and cuda_bf16.h. Conversions round to nearest,
// ties to even, with subnormals; every NaN becomes the GPU's canonical one (0x7fff).
#pragma once
#include "arithmetic.h"
#include "language.h"

namespace emulator {

// Rounds a double to the nearest half; exact also for what was rounded to odd before (see fused below).
inline uint16_t half_from_double(double value) {
  uint64_t bits = bit_cast<uint64_t>(value), magnitude = bits & ~(uint64_t(1) << 63);
  uint16_t sign = uint16_t(bits >> 63 << 15);
  if (magnitude > uint64_t(0x7ff) << 52) return 0x7fff;
  int exponent = int(magnitude >> 52) - 1023;
  if (exponent > 15) return sign | 0x7c00;
  if (exponent < -25) return sign;
  // Below 2^-14 the unit is 2^-24 whatever the exponent; above, 10 bits of mantissa stay.
  int dropped = exponent < -14 ? 42 + (-14 - exponent) : 42;
  uint64_t significand = (magnitude & ((uint64_t(1) << 52) - 1)) | uint64_t(1) << 52;
  uint64_t kept = significand >> dropped, rest = significand & ((uint64_t(1) << dropped) - 1);
  uint64_t middle = uint64_t(1) << (dropped - 1);
  if (rest > middle || (rest == middle && (kept & 1))) kept++;
  // `kept` has its leading bit at 10 for normal numbers: adding (not or-ing) lets a carry raise the exponent.
  return sign | uint16_t(exponent < -14 ? kept : kept + (uint64_t(exponent + 14) << 10));
}

inline float float_from_half(uint16_t bits) {
  unsigned sign = unsigned(bits & 0x8000) << 16, exponent = bits >> 10 & 31, mantissa = bits & 1023;
  if (exponent == 31) return bit_cast<float>(mantissa ? 0x7fffffffu : sign | 0x7f800000u);
  if (exponent == 0) {
    float value = float(mantissa) * 0x1p-24f;
    return sign ? -value : value;
  }
  return bit_cast<float>(sign | (exponent + 112) << 23 | mantissa << 13);
}

inline uint16_t bfloat_from_float(float value) {
  unsigned bits = bit_cast<unsigned>(value);
  if ((bits & 0x7fffffff) > 0x7f800000) return 0x7fff;
  return uint16_t((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

// a * b + c with one rounding at the end: the double sum is rounded to odd, which the second rounding cannot spoil.
inline double fused(float a, float b, float c) {
  double product = double(a) * b, sum = product + c;
  double c_part = sum - product, error = (product - (sum - c_part)) + (c - c_part);
  uint64_t bits = bit_cast<uint64_t>(sum);
  if (error == 0 || !std::isfinite(sum) || (bits & 1)) return sum;
  return bit_cast<double>((error > 0) == (sum > 0) ? bits + 1 : bits - 1);
}

}  // namespace emulator

struct __half {
  uint16_t bits;
  __half() = default;
  __half(float value) : bits(emulator::half_from_double(value)) {}
  operator float() const { return emulator::float_from_half(bits); }
  static __half from_bits(uint16_t bits) {
    __half result;
    result.bits = bits;
    return result;
  }
};
struct __nv_bfloat16 {
  uint16_t bits;
  __nv_bfloat16() = default;
  __nv_bfloat16(float value) : bits(emulator::bfloat_from_float(value)) {}
  operator float() const { return emulator::bit_cast<float>(unsigned(bits) << 16); }
  static __nv_bfloat16 from_bits(uint16_t bits) {
    __nv_bfloat16 result;
    result.bits = bits;
    return result;
  }
};
struct alignas(4) __half2 { __half x, y; };
struct alignas(4) __nv_bfloat162 { __nv_bfloat16 x, y; };
using half = __half;
using half2 = __half2;
using nv_bfloat16 = __nv_bfloat16;
using nv_bfloat162 = __nv_bfloat162;

inline __half __ushort_as_half(unsigned short bits) { return __half::from_bits(bits); }
inline __half __short_as_half(short bits) { return __half::from_bits(uint16_t(bits)); }
inline unsigned short __half_as_ushort(__half value) { return value.bits; }
inline short __half_as_short(__half value) { return short(value.bits); }
inline __nv_bfloat16 __ushort_as_bfloat16(unsigned short bits) { return __nv_bfloat16::from_bits(bits); }
inline unsigned short __bfloat16_as_ushort(__nv_bfloat16 value) { return value.bits; }

inline float __half2float(__half value) { return value; }
inline __half __float2half(float value) { return __half(value); }
inline __half __float2half_rn(float value) { return __half(value); }
inline __half __double2half(double value) { return __half::from_bits(emulator::half_from_double(value)); }
inline __half __int2half_rn(int value) { return __double2half(value); }
inline __half __uint2half_rn(unsigned value) { return __double2half(value); }
inline __half __ushort2half_rn(unsigned short value) { return __double2half(value); }
inline float __bfloat162float(__nv_bfloat16 value) { return value; }
inline __nv_bfloat16 __float2bfloat16(float value) { return __nv_bfloat16(value); }
inline __nv_bfloat16 __float2bfloat16_rn(float value) { return __nv_bfloat16(value); }

// Sums, differences, products and quotients of two halves (or bfloats) are rounded once more from float, which equals
// rounding the exact result: 24 bits are enough for 11.
#define EMULATOR_PAIR(scalar, pair, name_to_pair, name_from_pair, name_both)                                  \
  inline scalar __hadd(scalar a, scalar b) { return scalar(float(a) + float(b)); }                            \
  inline scalar __hsub(scalar a, scalar b) { return scalar(float(a) - float(b)); }                            \
  inline scalar __hmul(scalar a, scalar b) { return scalar(float(a) * float(b)); }                            \
  inline scalar __hdiv(scalar a, scalar b) { return scalar(float(a) / float(b)); }                            \
  inline scalar __hneg(scalar a) { return scalar::from_bits(a.bits ^ 0x8000); }                               \
  inline scalar __habs(scalar a) { return scalar::from_bits(a.bits & 0x7fff); }                               \
  inline scalar __hmax(scalar a, scalar b) { return scalar(fmaxf(a, b)); }                                    \
  inline scalar __hmin(scalar a, scalar b) { return scalar(fminf(a, b)); }                                    \
  inline bool __hgt(scalar a, scalar b) { return float(a) > float(b); }                                       \
  inline bool __hlt(scalar a, scalar b) { return float(a) < float(b); }                                       \
  inline pair __hadd2(pair a, pair b) { return {__hadd(a.x, b.x), __hadd(a.y, b.y)}; }                        \
  inline pair __hsub2(pair a, pair b) { return {__hsub(a.x, b.x), __hsub(a.y, b.y)}; }                        \
  inline pair __hmul2(pair a, pair b) { return {__hmul(a.x, b.x), __hmul(a.y, b.y)}; }                        \
  inline pair __hmax2(pair a, pair b) { return {__hmax(a.x, b.x), __hmax(a.y, b.y)}; }                        \
  inline pair __hmin2(pair a, pair b) { return {__hmin(a.x, b.x), __hmin(a.y, b.y)}; }                        \
  inline pair __hneg2(pair a) { return {__hneg(a.x), __hneg(a.y)}; }                                          \
  inline pair __hfma2(pair a, pair b, pair c) { return {__hfma(a.x, b.x, c.x), __hfma(a.y, b.y, c.y)}; }      \
  inline float __low2float(pair value) { return value.x; }                                                    \
  inline float __high2float(pair value) { return value.y; }                                                   \
  inline float2 name_from_pair(pair value) { return {float(value.x), float(value.y)}; }                       \
  inline pair name_to_pair(float low, float high) { return {scalar(low), scalar(high)}; }                     \
  inline pair name_both(float value) { return {scalar(value), scalar(value)}; }

inline __half __hfma(__half a, __half b, __half c) { return __double2half(emulator::fused(a, b, c)); }
// Float rounds to bfloat as double does to half: fmaf is exact up to float, and 24 bits are not 2 * 8 + 2 + range, so
// the odd-rounded double is narrowed through float by truncation with a sticky bit.
inline __nv_bfloat16 __hfma(__nv_bfloat16 a, __nv_bfloat16 b, __nv_bfloat16 c) {
  double exact = emulator::fused(a, b, c);
  float narrow = float(exact);
  if (!std::isfinite(narrow) || double(narrow) == exact) return __nv_bfloat16(narrow);
  unsigned bits = __float_as_uint(narrow);
  if (fabs(double(narrow)) > fabs(exact)) bits--;
  return __nv_bfloat16(__uint_as_float(bits | 1));
}
EMULATOR_PAIR(__half, __half2, __floats2half2_rn, __half22float2, __float2half2_rn)
EMULATOR_PAIR(__nv_bfloat16, __nv_bfloat162, __floats2bfloat162_rn, __bfloat1622float2, __float2bfloat162_rn)
#undef EMULATOR_PAIR

inline __half2 __float22half2_rn(float2 value) { return __floats2half2_rn(value.x, value.y); }
inline __half2 __halves2half2(__half low, __half high) { return {low, high}; }
inline __half2 __half2half2(__half value) { return {value, value}; }
inline __half2 make_half2(__half low, __half high) { return {low, high}; }
inline __half __low2half(__half2 value) { return value.x; }
inline __half __high2half(__half2 value) { return value.y; }
inline __half2 __low2half2(__half2 value) { return {value.x, value.x}; }
inline __half2 __high2half2(__half2 value) { return {value.y, value.y}; }
inline __half2 __lowhigh2highlow(__half2 value) { return {value.y, value.x}; }
inline __half2 __lows2half2(__half2 a, __half2 b) { return {a.x, b.x}; }
inline __half2 __highs2half2(__half2 a, __half2 b) { return {a.y, b.y}; }
inline __nv_bfloat162 __float22bfloat162_rn(float2 value) { return __floats2bfloat162_rn(value.x, value.y); }
inline __nv_bfloat162 __halves2bfloat162(__nv_bfloat16 low, __nv_bfloat16 high) { return {low, high}; }
inline __nv_bfloat162 __bfloat162bfloat162(__nv_bfloat16 value) { return {value, value}; }
inline __nv_bfloat16 __low2bfloat16(__nv_bfloat162 value) { return value.x; }
inline __nv_bfloat16 __high2bfloat16(__nv_bfloat162 value) { return value.y; }
