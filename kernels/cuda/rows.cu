// What works on rows one by one: embedding, RMS norm, rotary embedding with the write to the cache, the best logit.
#include "format.cuh"
#include "halves.cuh"

extern "C" __global__ void __launch_bounds__(256) embed_rows(const __grid_constant__ EmbedArgs a) {
    const int row = blockIdx.x;
    if (row >= static_cast<int>(a.counts->rows)) return;
    const int token = a.tokens[row];
    const half* dense = static_cast<const half*>(a.data) + static_cast<size_t>(token) * a.stride;
    float* out = a.out + static_cast<size_t>(row) * a.out_stride;
    for (int column = threadIdx.x; column < a.columns; column += 256) {
        const float weight = a.format == DENSE ? __half2float(dense[column])
                                               : block_weight_of(a.format, a.data, a.scales, a.columns / 32, token,
                                                                 column, a.offset);
        out[column] = weight * a.scale;
    }
}

// Runs of 1024 columns that a block keeps in registers.
#define KEPT 4

extern "C" __global__ void __launch_bounds__(256) rms_norm(const __grid_constant__ NormArgs a) {
    __shared__ float partial[8];
    const u32 count = a.counted ? a.counts->sampled : a.counts->rows;
    if (blockIdx.x >= count) return;
    const u32 row = a.rows ? a.rows[blockIdx.x] : blockIdx.x;
    const u32 slot = a.slots ? a.slots[row] : blockIdx.x;
    const float* x = a.x + static_cast<size_t>(row) * a.x_stride;
    const int lane = threadIdx.x % 32;
    const float4 none = make_float4(0.f, 0.f, 0.f, 0.f);
    float4 weights[KEPT], values[KEPT];
#pragma unroll
    for (int i = 0; i < KEPT; i++) {
        const int column = threadIdx.x * 4 + i * 1024;
        weights[i] = column < a.width ? *reinterpret_cast<const float4*>(a.weight + column) : none;
    }
    dependency_wait();
    dependency_launch();
    float squares = 0.f;
    auto square = [&squares](float4 v) {
        squares = fmaf(v.x, v.x, fmaf(v.y, v.y, fmaf(v.z, v.z, fmaf(v.w, v.w, squares))));
    };
#pragma unroll
    for (int i = 0; i < KEPT; i++) {
        const int column = threadIdx.x * 4 + i * 1024;
        values[i] = column < a.width ? *reinterpret_cast<const float4*>(x + column) : none;
    }
#pragma unroll
    for (int i = 0; i < KEPT; i++) square(values[i]);
    for (int column = threadIdx.x * 4 + KEPT * 1024; column < a.width; column += 1024)
        square(*reinterpret_cast<const float4*>(x + column));
    squares = warp_sum(squares);
    if (lane == 0) partial[threadIdx.x / 32] = squares;
    __syncthreads();
    float total = 0.f;
    for (int i = 0; i < 8; i++) total += partial[i];
    const float factor = 1.f / sqrtf(total / a.width + a.eps);
    auto write = [&](float4 v, float4 w, int column) {
        const float4 scaled = make_float4(v.x * factor * w.x, v.y * factor * w.y, v.z * factor * w.z, v.w * factor * w.w);
        write_halves4(a.out, slot, column, scaled, column < a.width);
    };
    // Whole warps, so that quads can add up.
#pragma unroll
    for (int i = 0; i < KEPT; i++)
        if (static_cast<int>(threadIdx.x) / 32 * 128 + i * 1024 < a.width)
            write(values[i], weights[i], threadIdx.x * 4 + i * 1024);
    for (int first = threadIdx.x / 32 * 128 + KEPT * 1024; first < a.width; first += 1024) {
        const int column = first + lane * 4;
        const bool inside = column < a.width;
        write(inside ? *reinterpret_cast<const float4*>(x + column) : none,
              inside ? *reinterpret_cast<const float4*>(a.weight + column) : none, column);
    }
}

// One warp a head: norm, turn, write back; keys and values go to the cache. A lane keeps every 32nd dimension, and the
// weights and angles of those: they are read before the queries are there.
extern "C" __global__ void __launch_bounds__(128) rotary_store(const __grid_constant__ RotaryArgs a) {
    __shared__ float heads[4][256];
    const int row = blockIdx.x, lane = threadIdx.x % 32, head = blockIdx.y * 4 + threadIdx.x / 32;
    if (row >= static_cast<int>(a.counts->rows) || head >= a.query_heads + 2 * a.kv_heads) return;
    const u32 position = a.positions[row];
    const bool is_query = head < a.query_heads, is_value = head >= a.query_heads + a.kv_heads;
    const float* norm = is_value ? nullptr : is_query ? a.query_norm : a.key_norm;
    const int pairs = a.rotary_dims / 2;
    float weights[8];
    float2 angles[4];
#pragma unroll
    for (int i = 0; i < 8; i++) weights[i] = norm && lane + i * 32 < a.head_dim ? norm[lane + i * 32] : 1.f;
#pragma unroll
    for (int i = 0; i < 4; i++)
        angles[i] = lane + i * 32 < pairs ? a.angles[static_cast<size_t>(position) * pairs + lane + i * 32]
                                          : make_float2(1.f, 0.f);
    const u32 block = is_query ? 0 : a.blocks[a.table_first[row] + position / a.block_size];
    dependency_wait();
    dependency_launch();
    float* h = heads[threadIdx.x / 32];
    float* from = a.qkv + static_cast<size_t>(row) * a.qkv_stride + static_cast<size_t>(head) * a.head_dim;
    float values[8];
    float squares = 0.f;
#pragma unroll
    for (int i = 0; i < 8; i++) {
        values[i] = lane + i * 32 < a.head_dim ? from[lane + i * 32] : 0.f;
        squares = fmaf(values[i], values[i], squares);
    }
    const float factor = norm ? 1.f / sqrtf(warp_sum(squares) / a.head_dim + a.eps) : 1.f;
#pragma unroll
    for (int i = 0; i < 8; i++)
        if (lane + i * 32 < a.head_dim) h[lane + i * 32] = norm ? values[i] * factor * weights[i] : values[i];
    __syncwarp();
    if (!is_value) {
#pragma unroll
        for (int n = 0; n < 4; n++) {
            const int pair = lane + n * 32;
            if (pair >= pairs) continue;
            const int i = a.interleaved ? 2 * pair : pair, j = a.interleaved ? i + 1 : i + pairs;
            const float x = h[i], y = h[j];
            h[i] = x * angles[n].x - y * angles[n].y;
            h[j] = y * angles[n].x + x * angles[n].y;
        }
        __syncwarp();
    }
    if (is_query) {
        for (int d = lane; d < a.head_dim; d += 32) from[d] = h[d];
        return;
    }
    const int kv_head = head - a.query_heads - (is_value ? a.kv_heads : 0);
    const size_t at = (static_cast<size_t>(block) * a.kv_heads + kv_head) * a.block_size + position % a.block_size;
    half* to = (is_value ? a.values : a.keys) + at * a.head_dim;
    for (int d = lane; d < a.head_dim; d += 32) to[d] = to_half(h[d]);
}

extern "C" __global__ void __launch_bounds__(1024) best_logit(const __grid_constant__ BestArgs a) {
    __shared__ float values[32];
    __shared__ u32 places[32];
    if (blockIdx.x >= a.counts->sampled) return;
    dependency_wait();
    dependency_launch();
    const float* logits = a.logits + static_cast<size_t>(blockIdx.x) * a.stride;
    float largest = -INFINITY;
    u32 place = 0;
    bool bad = false;
#pragma unroll 16
    for (int i = threadIdx.x; i < a.vocab; i += 1024) {
        const float v = logits[i];
        bad |= !(fabsf(v) < INFINITY);
        if (v > largest) largest = v, place = i;
    }
    for (int round = 0; round < 2; round++) {
        for (int step = 16; step; step >>= 1) {
            const float v = __shfl_xor_sync(~0u, largest, step);
            const u32 p = __shfl_xor_sync(~0u, place, step);
            bad |= __shfl_xor_sync(~0u, static_cast<int>(bad), step) != 0;
            if (v > largest || (v == largest && p < place)) largest = v, place = p;
        }
        if (round == 1) break;
        if (threadIdx.x % 32 == 0) {
            values[threadIdx.x / 32] = bad ? NAN : largest;
            places[threadIdx.x / 32] = place;
        }
        __syncthreads();
        if (threadIdx.x >= 32) return;
        largest = values[threadIdx.x];
        place = places[threadIdx.x];
        bad = !(largest == largest);
    }
    if (threadIdx.x == 0) a.best[blockIdx.x] = bad ? ~0u : place;
}
