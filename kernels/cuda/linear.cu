// Products of few rows: weights stream once from memory into registers and through the tensor cores.
//
// The contract of a row: columns are cut in eight slices; a slice is one chain of products, hi then lo half of 16
// columns at a time (in block-wise formats a chain a group, then d * chain + m * sum); slices are added as a balanced
// tree. It never depends on the other rows, so neither on NT, the rows a warp multiplies at once by eights.
#include "activation.cuh"
#include "format.cuh"
#include "halves.cuh"

#define SLICES 8

// The words of a row's activations that a lane multiplies in one run of 32 columns.
struct Words {
    unsigned hi[4], lo[4];
};

template <bool DENSE_ORDER>
__device__ __forceinline__ Words load_words(const Halves& x, int slot, int column, int q, bool valid) {
    Words w = {};
    if (!valid) return w;
    const size_t at = static_cast<size_t>(slot) * x.stride + column;
    if (DENSE_ORDER) {
        const uint4 hi = *reinterpret_cast<const uint4*>(x.narrow_hi + at + 8 * q);
        const uint4 lo = *reinterpret_cast<const uint4*>(x.narrow_lo + at + 8 * q);
        return {{hi.x, hi.y, hi.z, hi.w}, {lo.x, lo.y, lo.z, lo.w}};
    }
    const uint2 hi0 = *reinterpret_cast<const uint2*>(x.narrow_hi + at + 4 * q);
    const uint2 hi1 = *reinterpret_cast<const uint2*>(x.narrow_hi + at + 16 + 4 * q);
    const uint2 lo0 = *reinterpret_cast<const uint2*>(x.narrow_lo + at + 4 * q);
    const uint2 lo1 = *reinterpret_cast<const uint2*>(x.narrow_lo + at + 16 + 4 * q);
    return {{hi0.x, hi0.y, hi1.x, hi1.y}, {lo0.x, lo0.y, lo1.x, lo1.y}};
}

__device__ __forceinline__ void multiply(float (&acc)[4], const unsigned (&weights)[4], const Words& x, int product) {
    const unsigned hi[2] = {x.hi[2 * product], x.hi[2 * product + 1]};
    const unsigned lo[2] = {x.lo[2 * product], x.lo[2 * product + 1]};
    mma_f16(acc, weights, hi);
    mma_f16(acc, weights, lo);
}

// A tile of 16 rows of a matrix, as one warp reads it.
template <int FORMAT>
struct TileReader {
    using L = Layout<FORMAT>;
    const unsigned char *low, *high;
    const void* scales;
    size_t tile_group;
    int groups, r, q;
    half2 base;

    __device__ TileReader(const LinearArgs& a, const Part& part, int tile) {
        const int lane = threadIdx.x % 32;
        groups = a.groups;
        r = lane / 4;
        q = lane % 4;
        scales = part.scales;
        tile_group = static_cast<size_t>(tile) * groups;
        base = __float2half2_rn(1024.f + a.offset);
        const unsigned char* data = static_cast<const unsigned char*>(part.data);
        if (L::dense) {
            // Rows beyond the last are read as the last and dropped later.
            const int last = part.rows - 1;
            low = data + (static_cast<size_t>(min(tile * 16 + r, last)) * a.stride + 8 * q) * 2;
            high = data + (static_cast<size_t>(min(tile * 16 + r + 8, last)) * a.stride + 8 * q) * 2;
        } else {
            low = data + (tile_group * 32 + lane) * L::bits * 2;
        }
    }

    // The weights of both products of a run of 32 columns.
    __device__ __forceinline__ void read(int group, unsigned (&first)[4], unsigned (&second)[4]) const {
        if (L::dense) {
            const uint4 l = load_once(reinterpret_cast<const uint4*>(low + static_cast<size_t>(group) * 64));
            const uint4 h = load_once(reinterpret_cast<const uint4*>(high + static_cast<size_t>(group) * 64));
            first[0] = l.x, first[1] = h.x, first[2] = l.y, first[3] = h.y;
            second[0] = l.z, second[1] = h.z, second[2] = l.w, second[3] = h.w;
        } else if (L::bits == 4) {
            const uint2 v = load_once(reinterpret_cast<const uint2*>(low + static_cast<size_t>(group) * 256));
            unpack4(v.x, 0, base, first[0], first[2]);
            unpack4(v.y, 0, base, first[1], first[3]);
            unpack4(v.x, 1, base, second[0], second[2]);
            unpack4(v.y, 1, base, second[1], second[3]);
        } else {
            const uint4 v = load_once(reinterpret_cast<const uint4*>(low + static_cast<size_t>(group) * 512));
            unpack8(v.x, base, first[0], first[2]);
            unpack8(v.z, base, first[1], first[3]);
            unpack8(v.y, base, second[0], second[2]);
            unpack8(v.w, base, second[1], second[3]);
        }
    }

    // acc += d * chain + m * sum, for the lane's two rows and two columns of the product.
    __device__ __forceinline__ void scale(float (&acc)[4], const float (&chain)[4], int group, int half_group,
                                          float2 sums) const {
        const size_t at = ((tile_group + group) * L::groups + half_group) * 16 + r;
        const float2 low_scale = scale_of<L::scale>(scales, at), high_scale = scale_of<L::scale>(scales, at + 8);
        acc[0] = fmaf(low_scale.x, chain[0], acc[0]);
        acc[1] = fmaf(low_scale.x, chain[1], acc[1]);
        acc[2] = fmaf(high_scale.x, chain[2], acc[2]);
        acc[3] = fmaf(high_scale.x, chain[3], acc[3]);
        if (L::scale == SCALE_D) return;
        acc[0] = fmaf(low_scale.y, sums.x, acc[0]);
        acc[1] = fmaf(low_scale.y, sums.y, acc[1]);
        acc[2] = fmaf(high_scale.y, sums.x, acc[2]);
        acc[3] = fmaf(high_scale.y, sums.y, acc[3]);
    }
};

// Sums of 32 or 16 activations of the two rows whose products a lane holds.
template <class L>
__device__ __forceinline__ float2 load_sums(const Halves& x, int slot, int count, int group, int half_group) {
    float2 sums = make_float2(0.f, 0.f);
    if (L::scale == SCALE_D) return sums;
    const int stride = x.stride / 16;
    const float* at = x.sums + static_cast<size_t>(slot) * stride + group * 2;
    const bool second = slot + 1 < count;
    if (slot < count) sums.x = L::groups == 2 ? at[half_group] : at[0] + at[1];
    if (second) sums.y = L::groups == 2 ? at[stride + half_group] : at[stride] + at[stride + 1];
    return sums;
}

template <int FORMAT, int NT, int MT>
__device__ __forceinline__ void multiply_slice(const LinearArgs& a, const TileReader<FORMAT>* tiles, int slot_first,
                                               int count, float (&acc)[MT][NT][4]) {
    using L = Layout<FORMAT>;
    const int lane = threadIdx.x % 32, slice = threadIdx.x / 32, n = lane / 4, q = lane % 4;
    const int slice_groups = (a.groups + SLICES - 1) / SLICES;
    const int end = min(a.groups, (slice + 1) * slice_groups);
    constexpr int UNROLL = NT * MT <= 2 ? 4 : NT * MT <= 4 ? 2 : 1;
#pragma unroll UNROLL
    for (int group = slice * slice_groups; group < end; group++) {
        unsigned first[MT][4], second[MT][4];
#pragma unroll
        for (int i = 0; i < MT; i++) tiles[i].read(group, first[i], second[i]);
#pragma unroll
        for (int nt = 0; nt < NT; nt++) {
            const int slot = slot_first + nt * 8;
            const Words x = load_words<L::dense>(a.x, slot + n, group * 32, q, slot + n < count);
#pragma unroll
            for (int i = 0; i < MT; i++) {
                if (L::dense) {
                    multiply(acc[i][nt], first[i], x, 0);
                    multiply(acc[i][nt], second[i], x, 1);
                } else if (L::groups == 1) {
                    float chain[4] = {0.f, 0.f, 0.f, 0.f};
                    multiply(chain, first[i], x, 0);
                    multiply(chain, second[i], x, 1);
                    tiles[i].scale(acc[i][nt], chain, group, 0, load_sums<L>(a.x, slot + 2 * q, count, group, 0));
                } else {
                    float chain[4] = {0.f, 0.f, 0.f, 0.f}, other[4] = {0.f, 0.f, 0.f, 0.f};
                    multiply(chain, first[i], x, 0);
                    multiply(other, second[i], x, 1);
                    tiles[i].scale(acc[i][nt], chain, group, 0, load_sums<L>(a.x, slot + 2 * q, count, group, 0));
                    tiles[i].scale(acc[i][nt], other, group, 1, load_sums<L>(a.x, slot + 2 * q, count, group, 1));
                }
            }
        }
    }
}

struct Place {
    const Part* part;
    int tile;
};

// Which part a tile of the parts side by side belongs to.
__device__ __forceinline__ Place place_of(const LinearArgs& a, int tile) {
    int part = 0;
    for (int i = 1; i < a.part_count; i++)
        if (tile >= a.parts[i].tile_first) part = i;
    return {&a.parts[part], tile - a.parts[part].tile_first};
}

__device__ __forceinline__ void store(const LinearArgs& a, const Place& place, int row, u32 slot, float sum) {
    const int inside = place.tile * 16 + row;
    if (inside >= place.part->rows) return;
    const int column = place.part->out_first + inside;
    float* out = a.out + static_cast<size_t>(a.rows ? a.rows[slot] : slot) * a.out_stride + column;
    const float v = sum * place.part->scale + (a.bias ? a.bias[column] : 0.f);
    *out = a.add ? *out + v : v;
}

// The tree over the slices of one output.
__device__ __forceinline__ float tree(const float* sums, int stride) {
    float s[SLICES];
    for (int i = 0; i < SLICES; i++) s[i] = sums[i * stride];
    return ((s[0] + s[1]) + (s[2] + s[3])) + ((s[4] + s[5]) + (s[6] + s[7]));
}

template <int FORMAT, int NT, bool GATED>
__device__ __forceinline__ void linear(const LinearArgs& a) {
    constexpr int MT = GATED || NT >= 4 ? 2 : 1;
    __shared__ float sums[SLICES][MT][8][17];
    const int count = a.counted ? a.counts->sampled : a.counts->narrow;
    const int slot_first = blockIdx.y * NT * 8;
    if (slot_first >= count) return;
    Place places[MT];
    for (int i = 0; i < MT; i++) {
        const int tile = blockIdx.x * MT + i, tiles = a.parts[a.part_count - 1].tile_first +
                                                      (a.parts[a.part_count - 1].rows + 15) / 16;
        places[i] = GATED ? Place{&a.parts[i], static_cast<int>(blockIdx.x)} : place_of(a, min(tile, tiles - 1));
    }
    float acc[MT][NT][4] = {};
    if (MT == 2) {
        const TileReader<FORMAT> readers[2] = {{a, *places[0].part, places[0].tile},
                                               {a, *places[MT - 1].part, places[MT - 1].tile}};
        dependency_wait();
        multiply_slice<FORMAT, NT, MT>(a, readers, slot_first, count, acc);
    } else {
        const TileReader<FORMAT> reader(a, *places[0].part, places[0].tile);
        dependency_wait();
        multiply_slice<FORMAT, NT, MT>(a, &reader, slot_first, count, acc);
    }
    dependency_launch();
    const int lane = threadIdx.x % 32, slice = threadIdx.x / 32, r = lane / 4, q = lane % 4;
    const int tile_count = a.parts[a.part_count - 1].tile_first + (a.parts[a.part_count - 1].rows + 15) / 16;
#pragma unroll
    for (int nt = 0; nt < NT; nt++) {
        if (slot_first + nt * 8 >= count) return;
#pragma unroll
        for (int i = 0; i < MT; i++) {
            sums[slice][i][2 * q][r] = acc[i][nt][0];
            sums[slice][i][2 * q + 1][r] = acc[i][nt][1];
            sums[slice][i][2 * q][r + 8] = acc[i][nt][2];
            sums[slice][i][2 * q + 1][r + 8] = acc[i][nt][3];
        }
        __syncthreads();
        const int row = threadIdx.x % 16, token = threadIdx.x / 16 % 8, i = threadIdx.x / 128;
        const u32 slot = slot_first + nt * 8 + token;
        constexpr int STRIDE = MT * 8 * 17;
        if (GATED) {
            if (threadIdx.x < 128) {
                const float gate = tree(&sums[0][0][token][row], STRIDE) * a.parts[0].scale;
                const float up = tree(&sums[0][MT - 1][token][row], STRIDE) * a.parts[1].scale;
                const int column = blockIdx.x * 16 + row;
                const float v = column < a.parts[0].rows ? activate(a.activation, gate) * up * a.gated.scale : 0.f;
                const half hi = to_half(v), lo = to_half(v - __half2float(hi));
                float sum = __half2float(hi) + __half2float(lo);
                for (int step = 1; step < 16; step *= 2) sum += __shfl_xor_sync(~0u, sum, step);
                if (static_cast<int>(slot) < count) {
                    const size_t at = static_cast<size_t>(slot) * a.gated.stride + column;
                    a.gated.narrow_hi[at] = hi;
                    a.gated.narrow_lo[at] = lo;
                    if (row == 0) a.gated.sums[at / 16] = sum;
                }
            }
        } else if (i < MT && static_cast<int>(slot) < count && static_cast<int>(blockIdx.x) * MT + i < tile_count) {
            store(a, places[i], row, slot, tree(&sums[0][i][token][row], STRIDE));
        }
        __syncthreads();
    }
}

#define LINEAR(FORMAT, NT)                                                                                           \
    extern "C" __global__ void __launch_bounds__(256) linear_##FORMAT##_##NT(const __grid_constant__ LinearArgs a) {  \
        linear<FORMAT, NT, false>(a);                                                                                \
    }                                                                                                                \
    extern "C" __global__ void __launch_bounds__(256) gated_##FORMAT##_##NT(const __grid_constant__ LinearArgs a) {   \
        linear<FORMAT, NT, true>(a);                                                                                 \
    }
#define LINEARS_OF(FORMAT) LINEAR(FORMAT, 1) LINEAR(FORMAT, 2) LINEAR(FORMAT, 4) LINEAR(FORMAT, 8)
#define LINEARS(FORMAT) LINEARS_OF(FORMAT)

// A format a module, so that a model loads only the code it needs.
#ifdef ONLY_FORMAT
LINEARS(ONLY_FORMAT)
#else
LINEARS(DENSE)
LINEARS(Q4_D)
LINEARS(Q4_DM)
LINEARS(Q8_D)
LINEARS(Q8_DM)
LINEARS(Q4_FM)
LINEARS(Q8_FM)
LINEARS(Q4_FM16)
LINEARS(Q8_FM16)
#endif
