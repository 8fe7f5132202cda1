// Products of few rows: weights stream once from memory into registers and through the tensor cores.
//
// The contract of a row: columns are cut in eight slices; a slice is one chain of products, hi then lo half of 16
// columns at a time (in block-wise formats a chain a group, then d * chain + m * sum); slices are added as a balanced
// tree. It never depends on the other rows, so neither on NT, the rows a warp multiplies at once by eights.
#include "activation.cuh"
#include "format.cuh"
#include "halves.cuh"

#define SLICES 8
// Shared memory of a warp for what it has under way; ops/linear.rs knows it too. Less leaves room for more blocks, which
// pays where activations are few.
#define RING_BYTES(NT, MT) ((NT) == 1 && (MT) == 1 ? 8192 : 12288)

// The words of a row's activations that a lane multiplies in one run of 32 columns.
struct Words {
    unsigned hi[4], lo[4];
};

// Slots beyond the last are read as the last; their sums are dropped.
template <bool DENSE_ORDER>
__device__ __forceinline__ Words load_words(const Halves& x, int slot, int column, int q) {
    const size_t at = static_cast<size_t>(slot) * x.stride + column;
    if (DENSE_ORDER) {
        const uint4 hi = load_early(reinterpret_cast<const uint4*>(x.narrow_hi + at + 8 * q));
        const uint4 lo = load_early(reinterpret_cast<const uint4*>(x.narrow_lo + at + 8 * q));
        return {{hi.x, hi.y, hi.z, hi.w}, {lo.x, lo.y, lo.z, lo.w}};
    }
    const uint2 hi0 = load_early(reinterpret_cast<const uint2*>(x.narrow_hi + at + 4 * q));
    const uint2 hi1 = load_early(reinterpret_cast<const uint2*>(x.narrow_hi + at + 16 + 4 * q));
    const uint2 lo0 = load_early(reinterpret_cast<const uint2*>(x.narrow_lo + at + 4 * q));
    const uint2 lo1 = load_early(reinterpret_cast<const uint2*>(x.narrow_lo + at + 16 + 4 * q));
    return {{hi0.x, hi0.y, hi1.x, hi1.y}, {lo0.x, lo0.y, lo1.x, lo1.y}};
}

__device__ __forceinline__ void multiply(float (&acc)[4], const unsigned (&weights)[4], const Words& x, int product) {
    const unsigned hi[2] = {x.hi[2 * product], x.hi[2 * product + 1]};
    const unsigned lo[2] = {x.lo[2 * product], x.lo[2 * product + 1]};
    mma_f16(acc, weights, hi);
    mma_f16(acc, weights, lo);
}

struct Raw {
    uint4 low, high;
};

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

    // Starts the copy of a run of 32 columns to the lane's own place: nobody else reads it.
    __device__ __forceinline__ void fetch(int group, unsigned char* place) const {
        const int lane = threadIdx.x % 32;
        if (L::dense) {
            copy_async_16(place + lane * 16, low + static_cast<size_t>(group) * 64, true);
            copy_async_16(place + 512 + lane * 16, high + static_cast<size_t>(group) * 64, true);
        } else if (L::bits == 8) {
            copy_async_16(place + lane * 16, low + static_cast<size_t>(group) * 512, true);
        } else {
            copy_async_8(place + lane * 8, low + static_cast<size_t>(group) * 256);
        }
    }

    __device__ __forceinline__ Raw raw(const unsigned char* place) const {
        const int lane = threadIdx.x % 32;
        const uint4 none = make_uint4(0, 0, 0, 0);
        if (L::dense)
            return {*reinterpret_cast<const uint4*>(place + lane * 16),
                    *reinterpret_cast<const uint4*>(place + 512 + lane * 16)};
        if (L::bits == 8) return {*reinterpret_cast<const uint4*>(place + lane * 16), none};
        const uint2 v = *reinterpret_cast<const uint2*>(place + lane * 8);
        return {make_uint4(v.x, v.y, 0, 0), none};
    }

    // The weights of both its products.
    __device__ __forceinline__ void unpack(const Raw& raw, unsigned (&first)[4], unsigned (&second)[4]) const {
        const uint4 l = raw.low, h = raw.high;
        if (L::dense) {
            first[0] = l.x, first[1] = h.x, first[2] = l.y, first[3] = h.y;
            second[0] = l.z, second[1] = h.z, second[2] = l.w, second[3] = h.w;
        } else if (L::bits == 4) {
            unpack4(l.x, 0, base, first[0], first[2]);
            unpack4(l.y, 0, base, first[1], first[3]);
            unpack4(l.x, 1, base, second[0], second[2]);
            unpack4(l.y, 1, base, second[1], second[3]);
        } else {
            unpack8(l.x, base, first[0], first[2]);
            unpack8(l.z, base, first[1], first[3]);
            unpack8(l.y, base, second[0], second[2]);
            unpack8(l.w, base, second[1], second[3]);
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
__device__ __forceinline__ float2 load_sums(const Halves& x, int first, int second, int group, int half_group) {
    if (L::scale == SCALE_D) return make_float2(0.f, 0.f);
    const size_t stride = x.stride / 16;
    const float* a = x.sums + first * stride + group * 2;
    const float* b = x.sums + second * stride + group * 2;
    if (L::groups == 2) return make_float2(a[half_group], b[half_group]);
    return make_float2(a[0] + a[1], b[0] + b[1]);
}

// The rows of a warp's products.
struct Slots {
    int first, last;
    __device__ int at(int slot) const { return min(first + slot, last); }
};

// How a warp's ring in shared memory is cut: stages of the weights of MT tiles, and of few rows' activations too.
template <int FORMAT, int NT, int MT>
struct Ring {
    using L = Layout<FORMAT>;
    static constexpr bool with_rows = NT <= 2;
    static constexpr int weights = L::run_bytes * MT;
    static constexpr int bytes = weights + (with_rows ? NT * 1024 : 0);
    static constexpr int depth = RING_BYTES(NT, MT) / bytes;
};

// Starts the copy of the words that the lane multiplies in a run, to its own place.
template <bool DENSE_ORDER, int NT>
__device__ __forceinline__ void fetch_rows(const Halves& x, Slots slots, int group, unsigned char* place) {
    const int lane = threadIdx.x % 32, n = lane / 4, q = lane % 4;
#pragma unroll
    for (int nt = 0; nt < NT; nt++) {
        // What stands in for rows beyond the last does not matter: their sums are dropped.
        if (slots.first + nt * 8 + n > slots.last) continue;
        const size_t at = static_cast<size_t>(slots.first + nt * 8 + n) * x.stride + group * 32;
        unsigned char* to = place + nt * 1024 + lane * 16;
        if (DENSE_ORDER) {
            // Up to eight rows stay in the first cache, more would only pass through it.
            if (NT == 1) {
                copy_async_shared_16(to, x.narrow_hi + at + 8 * q);
                copy_async_shared_16(to + 512, x.narrow_lo + at + 8 * q);
            } else {
                copy_async_16(to, x.narrow_hi + at + 8 * q, true);
                copy_async_16(to + 512, x.narrow_lo + at + 8 * q, true);
            }
        } else {
            copy_async_8(to, x.narrow_hi + at + 4 * q);
            copy_async_8(to + 8, x.narrow_hi + at + 16 + 4 * q);
            copy_async_8(to + 512, x.narrow_lo + at + 4 * q);
            copy_async_8(to + 520, x.narrow_lo + at + 16 + 4 * q);
        }
    }
}

__device__ __forceinline__ Words fetched_words(const unsigned char* place, int nt) {
    const unsigned char* at = place + nt * 1024 + threadIdx.x % 32 * 16;
    const uint4 hi = *reinterpret_cast<const uint4*>(at), lo = *reinterpret_cast<const uint4*>(at + 512);
    return {{hi.x, hi.y, hi.z, hi.w}, {lo.x, lo.y, lo.z, lo.w}};
}

// The products of a run of 32 columns.
template <int FORMAT, int NT, int MT>
__device__ __forceinline__ void multiply_run(const LinearArgs& a, const TileReader<FORMAT> (&tiles)[MT], Slots slots,
                                             const unsigned char* place, int group, float (&acc)[MT][NT][4]) {
    using L = Layout<FORMAT>;
    using R = Ring<FORMAT, NT, MT>;
    const int lane = threadIdx.x % 32, n = lane / 4, q = lane % 4;
    Words x[NT];
#pragma unroll
    for (int nt = 0; nt < NT; nt++)
        x[nt] = R::with_rows ? fetched_words(place + R::weights, nt)
                             : load_words<L::dense>(a.x, slots.at(nt * 8 + n), group * 32, q);
#pragma unroll
    for (int i = 0; i < MT; i++) {
        unsigned first[4], second[4];
        tiles[i].unpack(tiles[i].raw(place + i * L::run_bytes), first, second);
#pragma unroll
        for (int nt = 0; nt < NT; nt++) {
            if (L::dense) {
                multiply(acc[i][nt], first, x[nt], 0);
                multiply(acc[i][nt], second, x[nt], 1);
                continue;
            }
            const int row = slots.at(nt * 8 + 2 * q), other_row = slots.at(nt * 8 + 2 * q + 1);
            float chain[4] = {0.f, 0.f, 0.f, 0.f}, other[4] = {0.f, 0.f, 0.f, 0.f};
            multiply(chain, first, x[nt], 0);
            if (L::groups == 1) {
                multiply(chain, second, x[nt], 1);
                tiles[i].scale(acc[i][nt], chain, group, 0, load_sums<L>(a.x, row, other_row, group, 0));
            } else {
                multiply(other, second, x[nt], 1);
                tiles[i].scale(acc[i][nt], chain, group, 0, load_sums<L>(a.x, row, other_row, group, 0));
                tiles[i].scale(acc[i][nt], other, group, 1, load_sums<L>(a.x, row, other_row, group, 1));
            }
        }
    }
}

// A warp's slice: runs come through the ring, its depth of them under way at any time; weights from before the kernel
// before this one has ended.
template <int FORMAT, int NT, int MT>
__device__ __forceinline__ void multiply_slice(const LinearArgs& a, const TileReader<FORMAT> (&tiles)[MT], Slots slots,
                                               unsigned char* ring, float (&acc)[MT][NT][4]) {
    using L = Layout<FORMAT>;
    using R = Ring<FORMAT, NT, MT>;
    const int slice = threadIdx.x / 32, slice_groups = (a.groups + SLICES - 1) / SLICES;
    const int begin = slice * slice_groups, end = min(a.groups, begin + slice_groups);
    ring += slice * RING_BYTES(NT, MT);
#pragma unroll
    for (int ahead = 0; ahead < R::depth; ahead++)
        if (begin + ahead < end)
            for (int i = 0; i < MT; i++) tiles[i].fetch(begin + ahead, ring + ahead * R::bytes + i * L::run_bytes);
    dependency_wait();
    dependency_launch();
#pragma unroll
    for (int ahead = 0; ahead < R::depth; ahead++) {
        if (R::with_rows && begin + ahead < end)
            fetch_rows<L::dense, NT>(a.x, slots, begin + ahead, ring + ahead * R::bytes + R::weights);
        copy_async_commit();
    }
    int at = 0;
#pragma unroll 2
    for (int group = begin; group < end; group++) {
        copy_async_wait<R::depth - 1>();
        unsigned char* place = ring + at * R::bytes;
        multiply_run<FORMAT, NT, MT>(a, tiles, slots, place, group, acc);
        const int next = group + R::depth;
        if (next < end) {
            for (int i = 0; i < MT; i++) tiles[i].fetch(next, place + i * L::run_bytes);
            if (R::with_rows) fetch_rows<L::dense, NT>(a.x, slots, next, place + R::weights);
        }
        copy_async_commit();
        at = at + 1 == R::depth ? 0 : at + 1;
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

// A warp's sums of eight rows and a tile: they lie in its ring, which it has no more use for, so that a block fits the
// shared memory of every GPU since Ampere.
typedef float TileSums[8][17];

// The tree over the slices of one output; `stride` floats from one warp's to the next one's.
__device__ __forceinline__ float tree(const float* sums, int stride) {
    float s[SLICES];
    for (int i = 0; i < SLICES; i++) s[i] = sums[i * stride];
    return ((s[0] + s[1]) + (s[2] + s[3])) + ((s[4] + s[5]) + (s[6] + s[7]));
}

template <int FORMAT, int NT, bool GATED>
__device__ __forceinline__ void linear(const LinearArgs& a) {
    constexpr int MT = GATED || NT >= 4 ? 2 : 1;
    EXTERN_SHARED(ring);
    const int count = a.counted ? a.counts->sampled : a.counts->narrow;
    const int slot_first = blockIdx.y * NT * 8;
    // The first rows are always some: their weights are asked for before the count is known.
    if (blockIdx.y > 0 && slot_first >= count) return;
    Place places[MT];
    for (int i = 0; i < MT; i++) {
        const int tile = blockIdx.x * MT + i, tiles = a.parts[a.part_count - 1].tile_first +
                                                      (a.parts[a.part_count - 1].rows + 15) / 16;
        places[i] = GATED ? Place{&a.parts[i], static_cast<int>(blockIdx.x)} : place_of(a, min(tile, tiles - 1));
    }
    float acc[MT][NT][4] = {};
    const Slots slots = {slot_first, count - 1};
    if constexpr (MT == 2) {
        const TileReader<FORMAT> readers[2] = {{a, *places[0].part, places[0].tile}, {a, *places[1].part, places[1].tile}};
        multiply_slice<FORMAT, NT, MT>(a, readers, slots, ring, acc);
    } else {
        const TileReader<FORMAT> readers[1] = {{a, *places[0].part, places[0].tile}};
        multiply_slice<FORMAT, NT, MT>(a, readers, slots, ring, acc);
    }
    const int lane = threadIdx.x % 32, slice = threadIdx.x / 32, r = lane / 4, q = lane % 4;
    const int tile_count = a.parts[a.part_count - 1].tile_first + (a.parts[a.part_count - 1].rows + 15) / 16;
    TileSums* const own = reinterpret_cast<TileSums*>(ring + slice * RING_BYTES(NT, MT));
    const TileSums* const sums = reinterpret_cast<const TileSums*>(ring);
    // Other lanes have read what came through the ring.
    __syncwarp();
#pragma unroll
    for (int nt = 0; nt < NT; nt++) {
        if (slot_first + nt * 8 >= count) return;
#pragma unroll
        for (int i = 0; i < MT; i++) {
            own[i][2 * q][r] = acc[i][nt][0];
            own[i][2 * q + 1][r] = acc[i][nt][1];
            own[i][2 * q][r + 8] = acc[i][nt][2];
            own[i][2 * q + 1][r + 8] = acc[i][nt][3];
        }
        __syncthreads();
        const int row = threadIdx.x % 16, token = threadIdx.x / 16 % 8, i = threadIdx.x / 128;
        const u32 slot = slot_first + nt * 8 + token;
        constexpr int STRIDE = RING_BYTES(NT, MT) / sizeof(float);
        if (GATED) {
            if (threadIdx.x < 128) {
                const float gate = tree(&sums[0][token][row], STRIDE) * a.parts[0].scale;
                const float up = tree(&sums[MT - 1][token][row], STRIDE) * a.parts[1].scale;
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
            store(a, places[i], row, slot, tree(&sums[i][token][row], STRIDE));
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
