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

extern "C" __global__ void __launch_bounds__(256) rms_norm(const __grid_constant__ NormArgs a) {
    __shared__ float partial[8];
    dependency_wait();
    if (blockIdx.x >= (a.counted ? a.counts->sampled : a.counts->rows)) return;
    const u32 row = a.rows ? a.rows[blockIdx.x] : blockIdx.x;
    const u32 slot = a.slots ? a.slots[row] : blockIdx.x;
    const float* x = a.x + static_cast<size_t>(row) * a.x_stride;
    const int lane = threadIdx.x % 32;
    float squares = 0.f;
    for (int column = threadIdx.x * 4; column < a.width; column += 1024) {
        const float4 v = *reinterpret_cast<const float4*>(x + column);
        squares = fmaf(v.x, v.x, fmaf(v.y, v.y, fmaf(v.z, v.z, fmaf(v.w, v.w, squares))));
    }
    squares = warp_sum(squares);
    if (lane == 0) partial[threadIdx.x / 32] = squares;
    __syncthreads();
    float total = 0.f;
    for (int i = 0; i < 8; i++) total += partial[i];
    const float factor = 1.f / sqrtf(total / a.width + a.eps);
    dependency_launch();
    // Whole warps, so that quads can add up.
    for (int first = threadIdx.x / 32 * 128; first < a.width; first += 1024) {
        const int column = first + lane * 4;
        const bool inside = column < a.width;
        float4 v = make_float4(0.f, 0.f, 0.f, 0.f);
        if (inside) {
            v = *reinterpret_cast<const float4*>(x + column);
            const float4 w = *reinterpret_cast<const float4*>(a.weight + column);
            v = make_float4(v.x * factor * w.x, v.y * factor * w.y, v.z * factor * w.z, v.w * factor * w.w);
        }
        write_halves4(a.out, slot, column, v, inside);
    }
}

// One warp a head: norm, turn, write back; keys and values go to the cache.
extern "C" __global__ void __launch_bounds__(128) rotary_store(const __grid_constant__ RotaryArgs a) {
    __shared__ float heads[4][256];
    const int row = blockIdx.x, lane = threadIdx.x % 32, head = blockIdx.y * 4 + threadIdx.x / 32;
    dependency_wait();
    if (row >= static_cast<int>(a.counts->rows) || head >= a.query_heads + 2 * a.kv_heads) return;
    float* h = heads[threadIdx.x / 32];
    float* from = a.qkv + static_cast<size_t>(row) * a.qkv_stride + static_cast<size_t>(head) * a.head_dim;
    const bool is_query = head < a.query_heads, is_value = head >= a.query_heads + a.kv_heads;
    const float* norm = is_value ? nullptr : is_query ? a.query_norm : a.key_norm;
    float squares = 0.f;
    for (int d = lane; d < a.head_dim; d += 32) {
        h[d] = from[d];
        squares = fmaf(h[d], h[d], squares);
    }
    if (norm) {
        const float factor = 1.f / sqrtf(warp_sum(squares) / a.head_dim + a.eps);
        for (int d = lane; d < a.head_dim; d += 32) h[d] = h[d] * factor * norm[d];
    }
    __syncwarp();
    const u32 position = a.positions[row];
    if (!is_value) {
        const int pairs = a.rotary_dims / 2;
        for (int pair = lane; pair < pairs; pair += 32) {
            const int i = a.interleaved ? 2 * pair : pair, j = a.interleaved ? i + 1 : i + pairs;
            const float2 angle = a.angles[static_cast<size_t>(position) * pairs + pair];
            const float x = h[i], y = h[j];
            h[i] = x * angle.x - y * angle.y;
            h[j] = y * angle.x + x * angle.y;
        }
        __syncwarp();
    }
    if (is_query) {
        for (int d = lane; d < a.head_dim; d += 32) from[d] = h[d];
        return;
    }
    const u32 block = a.blocks[a.table_first[row] + position / a.block_size];
    const int kv_head = head - a.query_heads - (is_value ? a.kv_heads : 0);
    const size_t at = (static_cast<size_t>(block) * a.kv_heads + kv_head) * a.block_size + position % a.block_size;
    half* to = (is_value ? a.values : a.keys) + at * a.head_dim;
    for (int d = lane; d < a.head_dim; d += 32) to[d] = to_half(h[d]);
}

extern "C" __global__ void __launch_bounds__(1024) best_logit(const __grid_constant__ BestArgs a) {
    __shared__ float values[32];
    __shared__ u32 places[32];
    if (blockIdx.x >= a.counts->sampled) return;
    const float* logits = a.logits + static_cast<size_t>(blockIdx.x) * a.stride;
    float largest = -INFINITY;
    u32 place = 0;
    bool bad = false;
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
