// Numbers for self_test.cpp: repeatable random ones, and 16-bit floats by their definition.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

// Repeatable numbers, small enough for exact sums.
inline unsigned random_bits() {
  static uint64_t state = 1;
  state = state * 6364136223846793005u + 1442695040888963407u;
  return unsigned(state >> 33);
}

// A half by definition, without bit tricks: what it is worth.
inline double half_value(unsigned bits) {
  int exponent = bits >> 10 & 31, mantissa = bits & 1023;
  double value = exponent == 31 ? (mantissa ? NAN : INFINITY)
                 : exponent     ? std::ldexp(1024 + mantissa, exponent - 25)
                                : std::ldexp(mantissa, -24);
  return bits >> 15 ? -value : value;
}

// The nearest half (mantissa bits: 10) or bfloat (7) by definition, ties to even.
inline unsigned nearest(double value, int mantissa_bits, int exponent_max) {
  if (std::isnan(value)) return 0x7fff;
  unsigned sign = std::signbit(value) ? 0x8000 : 0, infinity = unsigned(2 * exponent_max + 1) << mantissa_bits;
  value = std::fabs(value);
  int exponent = value == 0 ? 1 - exponent_max : std::max(std::isinf(value) ? 9999 : std::ilogb(value), 1 - exponent_max);
  if (exponent > exponent_max) return sign | infinity;
  double scaled = std::nearbyint(std::ldexp(value, mantissa_bits - exponent));
  unsigned bits = unsigned(scaled) + (unsigned(exponent + exponent_max - 1) << mantissa_bits);
  return sign | std::min(bits, infinity);
}

inline float float_of(unsigned bits) {
  float value;
  memcpy(&value, &bits, 4);
  return value;
}

// Floats that try rounding: every half, the middle to the next one, and one float to either side of it.
inline std::vector<unsigned> floats_to_round(unsigned count) {
  std::vector<unsigned> bits(count);
  for (unsigned i = 0; i < count; i++) {
    float middle = float((half_value(i & 0x7fff) + half_value((i & 0x7fff) + 1)) / 2);
    memcpy(&bits[i], &middle, 4);
    bits[i] = (bits[i] | (i & 0x8000) << 16) + (random_bits() % 4 == 0 ? 0 : random_bits() % 3 - 1);
    if (i % 16 == 5) bits[i] = random_bits() << 1 | (i >> 4 & 1);  // any float at all
  }
  return bits;
}
