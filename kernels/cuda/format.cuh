// How weights lie in memory. Dense ones are rows of f16. Block-wise ones are tiles of 16 rows by 32 columns: the
// integers in the order in which a warp's lanes multiply them, then d (and m) of each row and group beside.
//
// Lane (r, q) = (lane / 4, lane % 4) holds rows r and r + 8; in product s of a tile it holds columns 16 s + 4 q .. + 3.
#pragma once
#include "args.cuh"
#include "device.cuh"

// Bits of an integer, and what stands beside a group.
enum Format { DENSE = 0, Q4_D = 1, Q4_DM = 2, Q8_D = 3, Q8_DM = 4, Q4_FM = 5, Q8_FM = 6, Q4_FM16 = 7, Q8_FM16 = 8 };
enum Scale { SCALE_D, SCALE_DM, SCALE_FM };

template <int FORMAT>
struct Layout {
    static constexpr bool dense = FORMAT == DENSE;
    static constexpr int bits = FORMAT == Q4_D || FORMAT == Q4_DM || FORMAT == Q4_FM || FORMAT == Q4_FM16 ? 4 : 8;
    static constexpr int scale = FORMAT == Q4_D || FORMAT == Q8_D ? SCALE_D
                                 : FORMAT == Q4_DM || FORMAT == Q8_DM ? SCALE_DM
                                                                        : SCALE_FM;
    // Of a tile's run of 32 columns.
    static constexpr int run_bytes = dense ? 1024 : bits == 8 ? 512 : 256;
    // Groups with a scale of their own in 32 columns.
    static constexpr int groups = FORMAT == Q4_FM16 || FORMAT == Q8_FM16 ? 2 : 1;
};

// (d, m) of a row of a tile; `index` counts groups of 16 rows.
template <int SCALE>
__device__ __forceinline__ float2 scale_of(const void* scales, size_t index) {
    if (SCALE == SCALE_D) return make_float2(__half2float(__ldg(static_cast<const half*>(scales) + index)), 0.f);
    if (SCALE == SCALE_DM) return __half22float2(static_cast<const half2*>(scales)[index]);
    return static_cast<const float2*>(scales)[index];
}

// Four halves (two words) of the integers of one row and product, less `offset`: exact.
__device__ __forceinline__ void unpack4(unsigned nibbles, int product, half2 base, unsigned& first, unsigned& second) {
    const unsigned a = ((nibbles >> (8 * product)) & 0x000F000Fu) | 0x64006400u;
    const unsigned b = ((nibbles >> (8 * product + 4)) & 0x000F000Fu) | 0x64006400u;
    first = half2_bits(__hsub2(*reinterpret_cast<const half2*>(&a), base));
    second = half2_bits(__hsub2(*reinterpret_cast<const half2*>(&b), base));
}

__device__ __forceinline__ void unpack8(unsigned bytes, half2 base, unsigned& first, unsigned& second) {
    const unsigned a = prmt(bytes, 0x64646464u, 0x4140u);
    const unsigned b = prmt(bytes, 0x64646464u, 0x4342u);
    first = half2_bits(__hsub2(*reinterpret_cast<const half2*>(&a), base));
    second = half2_bits(__hsub2(*reinterpret_cast<const half2*>(&b), base));
}

// One weight of a block-wise matrix whose rows have `groups` runs of 32.
template <int FORMAT>
__device__ float block_weight(const void* data, const void* scales, int groups, int row, int column, int offset) {
    using L = Layout<FORMAT>;
    const int r = row % 16, inside = column % 32, product = inside / 16, q = inside % 16 / 4, j = inside % 4;
    const size_t tile = static_cast<size_t>(row / 16) * groups + column / 32;
    const size_t lane = tile * 32 + r % 8 * 4 + q;
    int integer;
    if (L::bits == 4) {
        const unsigned word = static_cast<const unsigned*>(data)[lane * 2 + r / 8];
        integer = (word >> (8 * product + j / 2 * 4 + j % 2 * 16)) & 15;
    } else {
        const unsigned word = static_cast<const unsigned*>(data)[lane * 4 + r / 8 * 2 + product];
        integer = (word >> (8 * j)) & 255;
    }
    const float2 dm = scale_of<L::scale>(scales, (tile * L::groups + product % L::groups) * 16 + r);
    return fmaf(dm.x, static_cast<float>(integer - offset), dm.y);
}

__device__ inline float block_weight_of(int format, const void* data, const void* scales, int groups, int row,
                                        int column, int offset) {
    switch (format) {
        case Q4_D: return block_weight<Q4_D>(data, scales, groups, row, column, offset);
        case Q4_DM: return block_weight<Q4_DM>(data, scales, groups, row, column, offset);
        case Q8_D: return block_weight<Q8_D>(data, scales, groups, row, column, offset);
        case Q8_DM: return block_weight<Q8_DM>(data, scales, groups, row, column, offset);
        case Q4_FM: return block_weight<Q4_FM>(data, scales, groups, row, column, offset);
        case Q8_FM: return block_weight<Q8_FM>(data, scales, groups, row, column, offset);
        case Q4_FM16: return block_weight<Q4_FM16>(data, scales, groups, row, column, offset);
        default: return block_weight<Q8_FM16>(data, scales, groups, row, column, offset);
    }
}
