// The arguments of all kernels, one struct each; kernels/src/cuda/args.rs has the same in Rust.
#pragma once

#include "device.cuh"

typedef unsigned int u32;

// What a step is, in device memory, so that a recorded graph serves every step of its size.
struct Counts {
    u32 rows;
    // Rows of linear layers whose products are narrow (two halves an activation), and wide (one half).
    u32 narrow;
    u32 wide;
    u32 sampled;
    // Rows that attend one by one, and tiles of prompt rows that attend together.
    u32 singles;
    u32 tiles;
    u32 reserved[2];
};

// Activations for products: narrow rows as hi + lo and the sums of 16, wide rows as hi alone.
struct Halves {
    half* narrow_hi;
    half* narrow_lo;
    float* sums;
    half* wide;
    // Of the values: 2^-k.
    float scale;
    // Between rows; sums have stride / 16.
    int stride;
};

struct EmbedArgs {
    const Counts* counts;
    const u32* tokens;
    const void* data;
    const void* scales;
    float* out;
    float scale;
    int format;
    int columns;
    int stride;
    int out_stride;
    int offset;
};

struct NormArgs {
    const Counts* counts;
    const float* x;
    const float* weight;
    // Row of x for each block; null: the block's own number.
    const u32* rows;
    // Slot for each row: narrow n, or ~wide; null: narrow, the block's number.
    const u32* slots;
    Halves out;
    float eps;
    int width;
    int x_stride;
    // Which count bounds the blocks: 0 rows, 1 sampled.
    int counted;
};

struct RotaryArgs {
    const Counts* counts;
    float* qkv;
    const float2* angles;
    const u32* positions;
    const u32* table_first;
    const u32* blocks;
    half* keys;
    half* values;
    // Null without head norms.
    const float* query_norm;
    const float* key_norm;
    float eps;
    int qkv_stride;
    int query_heads;
    int kv_heads;
    int head_dim;
    int rotary_dims;
    int interleaved;
    int block_size;
};

struct Part {
    const void* data;
    const void* scales;
    float scale;
    int rows;
    // Tiles of 16 rows before this part's, and outputs.
    int tile_first;
    int out_first;
};

struct LinearArgs {
    Part parts[3];
    const Counts* counts;
    Halves x;
    // Output row of each narrow slot; null: the slot.
    const u32* rows;
    float* out;
    const float* bias;
    Halves gated;
    int part_count;
    int groups;
    // Of dense weights, in elements.
    int stride;
    // Of integers in blocks.
    int offset;
    int out_stride;
    // 0 store, 1 add.
    int add;
    int activation;
    // Which count bounds the slots: 0 narrow, 1 sampled.
    int counted;
};

struct AttendArgs {
    const Counts* counts;
    const float* qkv;
    // (row, position, first of its block table, slot)
    const uint4* singles;
    const u32* blocks;
    const half* keys;
    const half* values;
    // [row of singles][query head][part][head_dim], and (max, sum).
    float* part_out;
    float2* part_state;
    Halves out;
    float scale_log2;
    int qkv_stride;
    int query_heads;
    int kv_heads;
    int head_dim;
    int block_size;
    int parts_max;
    // Singles before the first of this launch; part_out and part_state begin with it.
    int first;
};

// Consecutive prompt rows of one sequence.
struct Tile {
    u32 row;
    u32 rows;
    u32 position;
    u32 table_first;
};

struct PromptArgs {
    const Counts* counts;
    const float* qkv;
    const Tile* tiles;
    const u32* blocks;
    const u32* slots;
    const half* keys;
    const half* values;
    Halves out;
    float scale_log2;
    int qkv_stride;
    int query_heads;
    int kv_heads;
    int head_dim;
    int block_size;
};

struct BestArgs {
    const Counts* counts;
    const float* logits;
    // The first of the largest, or ~0 where a logit is not finite.
    u32* best;
    int vocab;
    int stride;
};

struct PackDenseArgs {
    const void* from;
    half* to;
    float scale;
    // 0 f32, 1 f16, 2 bf16.
    int type;
    int rows;
    int columns;
    int stride;
};

struct UnpackArgs {
    const void* data;
    const void* scales;
    half* to;
    float scale;
    int format;
    int rows;
    int columns;
    int stride;
    int offset;
};

// As cuTensorMapEncodeTiled fills it.
struct __align__(64) TensorMap {
    u32 words[32];
};

struct WideArgs {
    TensorMap x;
    TensorMap weights[3];
    // tile_first counts tiles of the kernel's width.
    Part parts[3];
    const Counts* counts;
    // Output row of each wide slot.
    const u32* rows;
    float* out;
    const float* bias;
    half* gated;
    float gated_scale;
    int gated_stride;
    int part_count;
    // Runs of 64 columns.
    int runs;
    int tiles;
    int out_stride;
    int add;
    int activation;
};
