// Weights on their way into and out of their layouts.
#include "format.cuh"

// A dense tensor as rows of f16, times a power of two: nothing is lost of bf16 and f16 but what is 2^-24 of the largest.
extern "C" __global__ void __launch_bounds__(256) pack_dense(const __grid_constant__ PackDenseArgs a) {
    const size_t row = blockIdx.x;
    half* to = a.to + row * a.stride;
    for (int column = threadIdx.x; column < a.stride; column += 256) {
        float v = 0.f;
        if (column < a.columns) {
            const size_t at = row * a.columns + column;
            v = a.type == 0   ? static_cast<const float*>(a.from)[at]
                : a.type == 1 ? __half2float(static_cast<const half*>(a.from)[at])
                              : __bfloat162float(static_cast<const __nv_bfloat16*>(a.from)[at]);
        }
        to[column] = to_half(v * a.scale);
    }
}

// A block-wise matrix as rows of f16, for products of many rows.
extern "C" __global__ void __launch_bounds__(256) unpack_rows(const __grid_constant__ UnpackArgs a) {
    const int row = blockIdx.x;
    half* to = a.to + static_cast<size_t>(row) * a.stride;
    for (int column = threadIdx.x; column < a.stride; column += 256) {
        const float v = column < a.columns ? block_weight_of(a.format, a.data, a.scales, a.columns / 32, row, column,
                                                             a.offset)
                                           : 0.f;
        to[column] = to_half(v * a.scale);
    }
}
