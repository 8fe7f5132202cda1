// Products of many rows on Hopper: both factors through the copy engine into shared memory, products of warpgroups.
//
// The contract of a row: one half an activation, one half a weight, one chain of products of 16 columns in f32. Tiles and
// their order are free, so a row depends on no other.
#include "activation.cuh"
#include "args.cuh"
#include "wgmma.cuh"

#define TILE_TOKENS 128
#define RUN 64
#define BOX_ROWS 128
#define STAGES 4

template <int WIDTH>
struct Stage {
    half x[TILE_TOKENS * RUN];
    half weights[WIDTH * RUN];
};

template <int WIDTH>
struct Shared {
    Stage<WIDTH> stages[STAGES];
    unsigned long long full[STAGES], empty[STAGES];
};

// What a tile multiplies.
struct WideTile {
    int token, part, row;
};

template <int WIDTH, bool GATED>
__device__ __forceinline__ WideTile tile_of(const WideArgs& a, int index, int token_tiles) {
    const int column = index / token_tiles;
    int part = 0;
    if (!GATED)
        for (int i = 1; i < a.part_count; i++)
            if (column >= a.parts[i].tile_first) part = i;
    const int width = GATED ? BOX_ROWS : WIDTH;
    return {index % token_tiles * TILE_TOKENS, part, (column - (GATED ? 0 : a.parts[part].tile_first)) * width};
}

template <int WIDTH, bool GATED>
__device__ __forceinline__ void produce(const WideArgs& a, Shared<WIDTH>& shared, int token_tiles) {
    int stage = 0;
    unsigned parity = 1;
    for (int index = blockIdx.x; index < a.tiles * token_tiles; index += gridDim.x) {
        const WideTile tile = tile_of<WIDTH, GATED>(a, index, token_tiles);
        for (int run = 0; run < a.runs; run++) {
            barrier_wait(&shared.empty[stage], parity);
            Stage<WIDTH>& to = shared.stages[stage];
            barrier_expect(&shared.full[stage], sizeof(Stage<WIDTH>));
            copy_box(to.x, &a.x, &shared.full[stage], run * RUN, tile.token);
            copy_box(to.weights, &a.weights[tile.part], &shared.full[stage], run * RUN, tile.row);
            if (GATED)
                copy_box(to.weights + BOX_ROWS * RUN, &a.weights[1], &shared.full[stage], run * RUN, tile.row);
            else if (WIDTH > BOX_ROWS)
                copy_box(to.weights + BOX_ROWS * RUN, &a.weights[tile.part], &shared.full[stage], run * RUN,
                         tile.row + BOX_ROWS);
            if (++stage == STAGES) stage = 0, parity ^= 1;
        }
    }
}

// The sums of a warpgroup's 64 rows: lane (r, q) of warp w holds rows 16 w + r and + 8, columns 8 j + 2 q and + 1.
template <int WIDTH>
__device__ __forceinline__ void store_sums(const WideArgs& a, const WideTile& tile, const float (&sums)[WIDTH / 2],
                                           int slot_first, int count) {
    const Part& part = a.parts[tile.part];
    const int q = threadIdx.x % 4;
#pragma unroll
    for (int high = 0; high < 2; high++) {
        const int slot = slot_first + high * 8;
        if (slot >= count) continue;
        float* out = a.out + static_cast<size_t>(a.rows[slot]) * a.out_stride + part.out_first + tile.row;
        const float* bias = a.bias ? a.bias + part.out_first + tile.row : nullptr;
#pragma unroll
        for (int j = 0; j < WIDTH / 8; j++) {
            const int column = j * 8 + 2 * q;
            // Rows of matrices are even in number.
            if (tile.row + column >= part.rows) continue;
            float2 v = make_float2(sums[j * 4 + high * 2] * part.scale, sums[j * 4 + high * 2 + 1] * part.scale);
            if (bias) v.x += bias[column], v.y += bias[column + 1];
            float2* to = reinterpret_cast<float2*>(out + column);
            if (a.add) {
                const float2 old = *to;
                v.x += old.x, v.y += old.y;
            }
            *to = v;
        }
    }
}

__device__ __forceinline__ void store_gated(const WideArgs& a, const WideTile& tile, const float (&sums)[128],
                                            int slot_first, int count) {
    const int q = threadIdx.x % 4;
#pragma unroll
    for (int high = 0; high < 2; high++) {
        const int slot = slot_first + high * 8;
        if (slot >= count) continue;
        half* out = a.gated + static_cast<size_t>(slot) * a.gated_stride + tile.row;
#pragma unroll
        for (int j = 0; j < 16; j++) {
            const int column = j * 8 + 2 * q;
            if (tile.row + column >= a.parts[0].rows) continue;
            float v[2];
#pragma unroll
            for (int i = 0; i < 2; i++) {
                const float gate = sums[j * 4 + high * 2 + i] * a.parts[0].scale;
                const float up = sums[64 + j * 4 + high * 2 + i] * a.parts[1].scale;
                v[i] = activate(a.activation, gate) * up * a.gated_scale;
            }
            *reinterpret_cast<half2*>(out + column) = __halves2half2(to_half(v[0]), to_half(v[1]));
        }
    }
}

template <int WIDTH, bool GATED>
__device__ __forceinline__ void consume(const WideArgs& a, Shared<WIDTH>& shared, int group, int count,
                                        int token_tiles) {
    int stage = 0;
    unsigned parity = 0;
    float sums[WIDTH / 2];
    for (int index = blockIdx.x; index < a.tiles * token_tiles; index += gridDim.x) {
        for (int run = 0; run < a.runs; run++) {
            barrier_wait(&shared.full[stage], parity);
            const unsigned long long x = tile_descriptor(shared.stages[stage].x + group * 64 * RUN);
            const unsigned long long weights = tile_descriptor(shared.stages[stage].weights);
            wgmma_fence();
#pragma unroll
            // 16 columns are 32 bytes, 2 in a descriptor's units.
            for (int k = 0; k < RUN / 16; k++) wgmma(sums, x + 2 * k, weights + 2 * k, run + k);
            wgmma_commit();
            // The stage before is read once its products are done.
            wgmma_wait<1>();
            if (run > 0 && threadIdx.x % 128 == 0) barrier_arrive(&shared.empty[(stage + STAGES - 1) % STAGES]);
            if (++stage == STAGES) stage = 0, parity ^= 1;
        }
        wgmma_wait<0>();
        if (threadIdx.x % 128 == 0) barrier_arrive(&shared.empty[(stage + STAGES - 1) % STAGES]);
        const WideTile tile = tile_of<WIDTH, GATED>(a, index, token_tiles);
        const int slot = tile.token + group * 64 + threadIdx.x % 128 / 32 * 16 + threadIdx.x % 32 / 4;
        if constexpr (GATED) store_gated(a, tile, sums, slot, count);
        else store_sums<WIDTH>(a, tile, sums, slot, count);
    }
}

// A warpgroup that copies and two that multiply.
template <int WIDTH, bool GATED>
__device__ __forceinline__ void wide(const WideArgs& a) {
    EXTERN_SHARED_TILES(memory);
    Shared<WIDTH>& shared = *reinterpret_cast<Shared<WIDTH>*>(memory);
    const int count = a.counts->wide, token_tiles = (count + TILE_TOKENS - 1) / TILE_TOKENS;
    if (threadIdx.x == 0) {
        for (int i = 0; i < STAGES; i++) {
            barrier_init(&shared.full[i], 1);
            barrier_init(&shared.empty[i], 2);
        }
        barriers_ready();
    }
    __syncthreads();
    if (threadIdx.x < 128) {
        keep_registers<40>();
        if (threadIdx.x == 0) produce<WIDTH, GATED>(a, shared, token_tiles);
    } else {
        take_registers<232>();
        consume<WIDTH, GATED>(a, shared, threadIdx.x / 128 - 1, count, token_tiles);
    }
}

extern "C" __global__ void __launch_bounds__(384, 1) wide_128(const __grid_constant__ WideArgs a) { wide<128, false>(a); }
extern "C" __global__ void __launch_bounds__(384, 1) wide_256(const __grid_constant__ WideArgs a) { wide<256, false>(a); }
extern "C" __global__ void __launch_bounds__(384, 1) wide_gated(const __grid_constant__ WideArgs a) { wide<256, true>(a); }
