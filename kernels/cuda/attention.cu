// Attention of single rows over the paged cache: generated tokens.
//
// The contract of a row: keys are taken in parts of 128 from position 0; a part's scores are f32 chains over the head,
// its softmax is in base 2 from the part's largest score; parts are merged in order. Which parts run beside each other
// is free.
#include "halves.cuh"

#define PART 128
#define HEADS_MAX 8

__device__ __forceinline__ void halves8(const half* from, float (&v)[8]) {
    const uint4 words = *reinterpret_cast<const uint4*>(from);
    const unsigned w[4] = {words.x, words.y, words.z, words.w};
#pragma unroll
    for (int i = 0; i < 4; i++) {
        const float2 pair = __half22float2(*reinterpret_cast<const half2*>(&w[i]));
        v[2 * i] = pair.x;
        v[2 * i + 1] = pair.y;
    }
}

// A block of 128 threads: one row, one part, up to HEADS query heads of one key head.
template <int HEADS>
__device__ __forceinline__ void attend(const AttendArgs& a) {
    __shared__ __align__(16) float query[HEADS][256];
    __shared__ float weights[HEADS][PART];
    __shared__ float sums[128 * 8 * HEADS];
    __shared__ float warps[HEADS][4];
    const int t = threadIdx.x, lane = t % 32, warp = t / 32, head_dim = a.head_dim;
    // Read before its number is known to be one of the step's: the table is that long.
    const uint4 single = a.singles[blockIdx.x + a.first];
    if (blockIdx.x + a.first >= a.counts->singles) return;
    const u32 row = single.x;
    const int keys = min(PART, static_cast<int>(single.y) + 1 - static_cast<int>(blockIdx.z) * PART);
    if (keys <= 0) return;
    const u32* table = a.blocks + single.z;
    const int key = blockIdx.z * PART + t;
    const u32 key_block = table[min(key, static_cast<int>(single.y)) / a.block_size];
    const int group = a.query_heads / a.kv_heads, runs = (group + HEADS - 1) / HEADS;
    const int kv_head = blockIdx.y / runs, head_first = blockIdx.y % runs * HEADS;
    const size_t key_at = (static_cast<size_t>(key_block) * a.kv_heads + kv_head) * a.block_size + key % a.block_size;
    if (t < keys)
        for (int d = 0; d < head_dim; d += 64) {
            prefetch(a.keys + key_at * head_dim + d);
            prefetch(a.values + key_at * head_dim + d);
        }
    dependency_wait();
    dependency_launch();
    const int heads = min(HEADS, group - head_first);
    const float* from = a.qkv + static_cast<size_t>(row) * a.qkv_stride +
                        static_cast<size_t>(kv_head * group + head_first) * head_dim;
    for (int i = t; i < HEADS * head_dim; i += 128) {
        const int h = i / head_dim, d = i % head_dim;
        query[h][d] = h < heads ? from[i] * a.scale_log2 : 0.f;
    }
    __syncthreads();

    float scores[HEADS];
#pragma unroll
    for (int h = 0; h < HEADS; h++) scores[h] = 0.f;
    if (t < keys) {
        const half* k = a.keys + key_at * head_dim;
#pragma unroll 8
        for (int d = 0; d < head_dim; d += 8) {
            float v[8];
            halves8(k + d, v);
#pragma unroll
            for (int h = 0; h < HEADS; h++) {
                const float4 low = *reinterpret_cast<const float4*>(&query[h][d]);
                const float4 high = *reinterpret_cast<const float4*>(&query[h][d + 4]);
                float s = scores[h];
                s = fmaf(v[0], low.x, s), s = fmaf(v[1], low.y, s), s = fmaf(v[2], low.z, s), s = fmaf(v[3], low.w, s);
                s = fmaf(v[4], high.x, s), s = fmaf(v[5], high.y, s), s = fmaf(v[6], high.z, s);
                scores[h] = fmaf(v[7], high.w, s);
            }
        }
    }
    float largest[HEADS];
#pragma unroll
    for (int h = 0; h < HEADS; h++) {
        const float m = warp_max(t < keys ? scores[h] : -INFINITY);
        if (lane == 0) warps[h][warp] = m;
    }
    __syncthreads();
#pragma unroll
    for (int h = 0; h < HEADS; h++) {
        largest[h] = fmaxf(fmaxf(warps[h][0], warps[h][1]), fmaxf(warps[h][2], warps[h][3]));
        weights[h][t] = t < keys ? exp2f(scores[h] - largest[h]) : 0.f;
    }
    __syncthreads();
    const size_t state = (static_cast<size_t>(blockIdx.x) * a.query_heads + kv_head * group + head_first) * a.parts_max +
                         blockIdx.z;
    for (int h = warp; h < heads; h += 4) {
        const float sum = warp_sum((weights[h][lane] + weights[h][lane + 32]) +
                                   (weights[h][lane + 64] + weights[h][lane + 96]));
        if (lane == 0) a.part_state[state + static_cast<size_t>(h) * a.parts_max] = make_float2(largest[h], sum);
    }

    // A thread sums eight dimensions of every `runs`th key.
    const int spans = head_dim / 8, key_runs = 128 / spans, span = t % spans, run = t / spans;
    float acc[HEADS][8];
#pragma unroll
    for (int h = 0; h < HEADS; h++)
#pragma unroll
        for (int i = 0; i < 8; i++) acc[h][i] = 0.f;
    if (run < key_runs) {
#pragma unroll 4
        for (int j = run; j < keys; j += key_runs) {
            const int place = blockIdx.z * PART + j;
            const size_t at = (static_cast<size_t>(table[place / a.block_size]) * a.kv_heads + kv_head) * a.block_size +
                              place % a.block_size;
            float v[8];
            halves8(a.values + at * head_dim + span * 8, v);
#pragma unroll
            for (int h = 0; h < HEADS; h++) {
                const float w = weights[h][j];
#pragma unroll
                for (int i = 0; i < 8; i++) acc[h][i] = fmaf(w, v[i], acc[h][i]);
            }
        }
#pragma unroll
        for (int h = 0; h < HEADS; h++)
#pragma unroll
            for (int i = 0; i < 8; i++) sums[(h * key_runs + run) * head_dim + span * 8 + i] = acc[h][i];
    }
    __syncthreads();
    for (int i = t; i < heads * head_dim; i += 128) {
        const int h = i / head_dim, d = i % head_dim;
        float total = 0.f;
        for (int r = 0; r < key_runs; r++) total += sums[(h * key_runs + r) * head_dim + d];
        a.part_out[(state + static_cast<size_t>(h) * a.parts_max) * head_dim + d] = total;
    }
}

#define ATTEND(HEADS)                                                                                                \
    extern "C" __global__ void __launch_bounds__(128) attend_##HEADS(const __grid_constant__ AttendArgs a) {          \
        attend<HEADS>(a);                                                                                            \
    }
ATTEND(1)
ATTEND(2)
ATTEND(4)
ATTEND(8)

// A block of 64 threads: the parts of one head of one row, in order.
extern "C" __global__ void __launch_bounds__(64) merge_parts(const __grid_constant__ AttendArgs a) {
    const uint4 single = a.singles[blockIdx.x + a.first];
    if (blockIdx.x + a.first >= a.counts->singles) return;
    const int head = blockIdx.y, parts = single.y / PART + 1, column = threadIdx.x * 4;
    dependency_wait();
    dependency_launch();
    const size_t first = (static_cast<size_t>(blockIdx.x) * a.query_heads + head) * a.parts_max;
    float largest = -INFINITY, sum = 0.f;
    for (int part = 0; part < parts; part++) largest = fmaxf(largest, a.part_state[first + part].x);
    float4 v = make_float4(0.f, 0.f, 0.f, 0.f);
    const bool inside = column < a.head_dim;
    for (int part = 0; part < parts; part++) {
        const float2 state = a.part_state[first + part];
        const float w = exp2f(state.x - largest);
        sum = fmaf(w, state.y, sum);
        if (inside) {
            const float4 out = *reinterpret_cast<const float4*>(a.part_out + (first + part) * a.head_dim + column);
            v = make_float4(fmaf(w, out.x, v.x), fmaf(w, out.y, v.y), fmaf(w, out.z, v.z), fmaf(w, out.w, v.w));
        }
    }
    const float factor = 1.f / sum;
    v = make_float4(v.x * factor, v.y * factor, v.z * factor, v.w * factor);
    write_halves4(a.out, single.w, head * a.head_dim + column, v, inside);
}
