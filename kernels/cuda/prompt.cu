// Attention of prompt rows over the paged cache, 64 rows of a sequence at a time, through the tensor cores.
//
// The contract of a row: keys are taken in steps of 64 from position 0, an online softmax in base 2; queries and weights
// are one half each, and the sum is that of the rounded weights. Steps beyond a row's position change nothing, so a row
// does not depend on the others of its tile.
#include "halves.cuh"

#define ROWS 64
#define STEP 64

// Keys or values of a step into shared memory; a row is `HEAD + 8` halves, beyond head_dim zeros.
template <int HEAD>
__device__ __forceinline__ void load_step(half* to, const half* from, const u32* table, const PromptArgs& a, int kv_head,
                                          int first, int keys) {
    constexpr int SPANS = HEAD / 8, STRIDE = HEAD + 8;
    for (int i = threadIdx.x; i < STEP * SPANS; i += 128) {
        const int key = i / SPANS, span = i % SPANS, place = first + key;
        const bool valid = place < keys && span * 8 < a.head_dim;
        const u32 block = valid ? table[place / a.block_size] : 0;
        const size_t at = (static_cast<size_t>(block) * a.kv_heads + kv_head) * a.block_size + place % a.block_size;
        copy_async_16(to + key * STRIDE + span * 8, valid ? from + at * a.head_dim + span * 8 : from, valid);
    }
}

template <int HEAD, int STAGES>
__device__ __forceinline__ void attend_prompt(const PromptArgs& a) {
    constexpr int STRIDE = HEAD + 8, STEPS = HEAD / 16, TILES = HEAD / 8;
    EXTERN_SHARED(shared);
    if (blockIdx.x >= a.counts->tiles) return;
    const Tile tile = a.tiles[blockIdx.x];
    const int head = blockIdx.y, kv_head = head / (a.query_heads / a.kv_heads);
    const int t = threadIdx.x, lane = t % 32, warp = t / 32, r = lane / 4, q = lane % 4;
    half* query = reinterpret_cast<half*>(shared);
    half* keys = query + ROWS * STRIDE;
    half* values = keys + STAGES * STEP * STRIDE;
    const u32* table = a.blocks + tile.table_first;
    const int keys_all = tile.position + tile.rows, steps = (keys_all + STEP - 1) / STEP;

    load_step<HEAD>(keys, a.keys, table, a, kv_head, 0, keys_all);
    load_step<HEAD>(values, a.values, table, a, kv_head, 0, keys_all);
    copy_async_commit();
    for (int i = t; i < ROWS * HEAD; i += 128) {
        const int row = i / HEAD, d = i % HEAD;
        const bool inside = row < static_cast<int>(tile.rows) && d < a.head_dim;
        const float v = inside ? a.qkv[static_cast<size_t>(tile.row + row) * a.qkv_stride + head * a.head_dim + d] : 0.f;
        query[row * STRIDE + d] = to_half(v * a.scale_log2);
    }

    float out[TILES][4] = {};
    float largest[2] = {-INFINITY, -INFINITY}, sum[2] = {0.f, 0.f};
    const int row_first = warp * 16 + r;
    for (int step = 0; step < steps; step++) {
        const int stage = step % STAGES;
        if (STAGES > 1 && step + 1 < steps) {
            const int next = (step + 1) % STAGES;
            load_step<HEAD>(keys + next * STEP * STRIDE, a.keys, table, a, kv_head, (step + 1) * STEP, keys_all);
            load_step<HEAD>(values + next * STEP * STRIDE, a.values, table, a, kv_head, (step + 1) * STEP, keys_all);
        }
        if (STAGES > 1) {
            copy_async_commit();
            copy_async_wait<1>();
        } else {
            copy_async_wait<0>();
        }
        __syncthreads();
        const half* k = keys + stage * STEP * STRIDE;
        const half* v = values + stage * STEP * STRIDE;
        float scores[STEP / 8][4] = {};
#pragma unroll
        for (int ks = 0; ks < STEPS; ks++) {
            unsigned qa[4];
            ldmatrix_x4(qa, query + (warp * 16 + lane % 16) * STRIDE + ks * 16 + lane / 16 * 8);
#pragma unroll
            for (int nt = 0; nt < STEP / 8; nt += 2) {
                unsigned kb[4];
                ldmatrix_x4(kb, k + (nt * 8 + lane / 16 * 8 + lane % 8) * STRIDE + ks * 16 + lane / 8 % 2 * 8);
                const unsigned b0[2] = {kb[0], kb[1]}, b1[2] = {kb[2], kb[3]};
                mma_f16(scores[nt], qa, b0);
                mma_f16(scores[nt + 1], qa, b1);
            }
        }
        // Mask, then the largest of each of the lane's two rows, over the quad.
        float top[2] = {largest[0], largest[1]};
#pragma unroll
        for (int nt = 0; nt < STEP / 8; nt++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const int key = step * STEP + nt * 8 + 2 * q + i % 2;
                const int position = tile.position + row_first + i / 2 * 8;
                if (key > position) scores[nt][i] = -INFINITY;
                top[i / 2] = fmaxf(top[i / 2], scores[nt][i]);
            }
        float rescale[2];
#pragma unroll
        for (int i = 0; i < 2; i++) {
            top[i] = fmaxf(top[i], __shfl_xor_sync(~0u, top[i], 1));
            top[i] = fmaxf(top[i], __shfl_xor_sync(~0u, top[i], 2));
            rescale[i] = exp2f(largest[i] - top[i]);
            largest[i] = top[i];
            sum[i] *= rescale[i];
        }
#pragma unroll
        for (int nt = 0; nt < TILES; nt++)
#pragma unroll
            for (int i = 0; i < 4; i++) out[nt][i] *= rescale[i / 2];
        float added[2] = {0.f, 0.f};
#pragma unroll
        for (int ks = 0; ks < STEP / 16; ks++) {
            unsigned pa[4];
#pragma unroll
            for (int part = 0; part < 2; part++)
#pragma unroll
                for (int i = 0; i < 2; i++) {
                    const float* s = scores[2 * ks + part];
                    const half2 p = __floats2half2_rn(exp2f(s[2 * i] - largest[i]), exp2f(s[2 * i + 1] - largest[i]));
                    const float2 rounded = __half22float2(p);
                    added[i] += rounded.x + rounded.y;
                    pa[part * 2 + i] = half2_bits(p);
                }
#pragma unroll
            for (int nt = 0; nt < TILES; nt += 2) {
                unsigned vb[4];
                ldmatrix_x4_trans(vb, v + (ks * 16 + lane % 16) * STRIDE + nt * 8 + lane / 16 * 8);
                const unsigned b0[2] = {vb[0], vb[1]}, b1[2] = {vb[2], vb[3]};
                mma_f16(out[nt], pa, b0);
                mma_f16(out[nt + 1], pa, b1);
            }
        }
        sum[0] += added[0];
        sum[1] += added[1];
        __syncthreads();
        if (STAGES == 1 && step + 1 < steps) {
            load_step<HEAD>(keys, a.keys, table, a, kv_head, (step + 1) * STEP, keys_all);
            load_step<HEAD>(values, a.values, table, a, kv_head, (step + 1) * STEP, keys_all);
            copy_async_commit();
        }
    }
    // Through shared memory (the queries' place; each warp its own rows), so that quads of lanes write four dimensions.
    float* rows = reinterpret_cast<float*>(keys);
    __syncthreads();
#pragma unroll
    for (int i = 0; i < 2; i++) {
        sum[i] += __shfl_xor_sync(~0u, sum[i], 1);
        sum[i] += __shfl_xor_sync(~0u, sum[i], 2);
        const float factor = 1.f / sum[i];
#pragma unroll
        for (int nt = 0; nt < TILES; nt++)
#pragma unroll
            for (int j = 0; j < 2; j++)
                rows[(warp * 16 + r + i * 8) * HEAD + nt * 8 + 2 * q + j] = out[nt][2 * i + j] * factor;
    }
    __syncwarp();
    constexpr int LANES = HEAD / 4 < 32 ? HEAD / 4 : 32, TOGETHER = 32 / LANES;
    for (int row = warp * 16 + lane / LANES; row < warp * 16 + 16; row += TOGETHER)
        for (int column = lane % LANES * 4; column < HEAD; column += LANES * 4) {
            const bool inside = row < static_cast<int>(tile.rows) && column < a.head_dim;
            const u32 slot = a.slots[tile.row + min(row, static_cast<int>(tile.rows) - 1)];
            const float4 v = *reinterpret_cast<const float4*>(rows + row * HEAD + column);
            write_halves4(a.out, slot, head * a.head_dim + column, v, inside);
        }
}

#define PROMPT(HEAD, STAGES)                                                                                         \
    extern "C" __global__ void __launch_bounds__(128) prompt_##HEAD(const __grid_constant__ PromptArgs a) {           \
        attend_prompt<HEAD, STAGES>(a);                                                                              \
    }
PROMPT(64, 2)
PROMPT(128, 2)
PROMPT(256, 1)
