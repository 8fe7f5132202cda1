// Writing activations as the halves that products read.
#pragma once
#include "args.cuh"
#include "device.cuh"

// Four values of a row from column `column` on, a multiple of 4. Called by whole quads of lanes with consecutive
// columns; `slot` is a narrow row's, or ~ a wide row's. Sums are those of the rounded values, so that errors of
// d * sum(q x) and m * sum(x) cancel.
__device__ __forceinline__ void write_halves4(const Halves& out, u32 slot, int column, float4 v, bool inside) {
    const float x[4] = {v.x * out.scale, v.y * out.scale, v.z * out.scale, v.w * out.scale};
    half hi[4], lo[4];
    float sum = 0.f;
    for (int i = 0; i < 4; i++) {
        hi[i] = to_half(x[i]);
        lo[i] = to_half(x[i] - __half2float(hi[i]));
        sum += __half2float(hi[i]) + __half2float(lo[i]);
    }
    sum += __shfl_xor_sync(~0u, sum, 1);
    sum += __shfl_xor_sync(~0u, sum, 2);
    if (!inside) return;
    const uint2 hi4 = make_uint2(half2_bits(__halves2half2(hi[0], hi[1])), half2_bits(__halves2half2(hi[2], hi[3])));
    const bool is_wide = static_cast<int>(slot) < 0;
    if (is_wide) {
        *reinterpret_cast<uint2*>(out.wide + static_cast<size_t>(~slot) * out.stride + column) = hi4;
        return;
    }
    const size_t at = static_cast<size_t>(slot) * out.stride + column;
    *reinterpret_cast<uint2*>(out.narrow_hi + at) = hi4;
    *reinterpret_cast<uint2*>(out.narrow_lo + at) =
        make_uint2(half2_bits(__halves2half2(lo[0], lo[1])), half2_bits(__halves2half2(lo[2], lo[3])));
    if (column % 16 == 0) out.sums[at / 16] = sum;
}
