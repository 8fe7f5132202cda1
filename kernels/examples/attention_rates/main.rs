//! Rates of attention for the shape of SmolLM2-135M (30 layers, 9/3 heads of 64, f16 cache): decode of 1 and of 16
//! sequences in microseconds a step and GB/s beside a plain read of the same bytes, prompts in GFLOPS (the causal
//! half counted) beside what f32 multiply-adds alone reach (`peak`). AMX computes prompts otherwise, and may exceed that.
//! `cargo run --release -p ostro-kernels --example attention_rates [ISA]`.
//! On a shared machine only the ratios to the plain read and to the peak, taken in turn with them, mean something.

mod peak;
#[path = "../measure/turns.rs"]
mod turns;

use ostro_kernels::cpu::attention::{BatchView, HeadShape, RowPlace};
use ostro_kernels::cpu::kv_cache::{CacheType, KvCache, KvCacheShape};
use ostro_kernels::cpu::ops::Cpu;
use ostro_kernels::cpu::ops::attention::AttentionInput;
use ostro_kernels::cpu::ops::rotary::RotaryStore;
use ostro_kernels::cpu::plain_read::plain_read;
use ostro_kernels::cpu::rotary::{RotaryStyle, RotaryTable};
use ostro_kernels::cpu::rows::Rows;
use std::time::Instant;
use turns::{in_turn, touched};

const LAYERS: usize = 30;
const BLOCK_SIZE: usize = 32;
const SHAPE: HeadShape = HeadShape { query_heads: 9, kv_heads: 3, head_dim: 64, scale: 0.125 };

fn main() {
    let isa = turns::isa();
    for threads in turns::thread_counts() {
        println!("{isa}, {threads} threads");
        let mut cpu = Cpu::new(isa, threads);
        for order in [Order::Neighbours, Order::Shuffled] {
            for (sequences, depth) in [(1, 128), (1, 1024), (1, 4096), (16, 192)] {
                decode(&mut cpu, (sequences, depth), order);
            }
        }
        [512, 2048].into_iter().for_each(|prompt| prefill(&mut cpu, prompt));
    }
}

/// How the blocks of a sequence lie in the cache.
#[derive(Clone, Copy, PartialEq)]
enum Order {
    Neighbours,
    Shuffled,
}

/// Sequences of the same length in the cache.
struct Context {
    cache: KvCache,
    /// Of all sequences, one after the other.
    blocks: Vec<u32>,
}

fn block_tables(blocks: &[u32], sequences: usize) -> Vec<&[u32]> {
    blocks.chunks(blocks.len() / sequences).collect()
}

/// Stores `tokens` rows a sequence in `layers` layers; seconds a token over all layers.
fn context(
    cpu: &mut Cpu,
    (sequences, tokens): (usize, usize),
    layers: usize,
    order: Order,
) -> (Context, f64) {
    let blocks = sequences * tokens.div_ceil(BLOCK_SIZE);
    let cache_type = CacheType::F16;
    let shape = KvCacheShape {
        layers,
        blocks,
        block_size: BLOCK_SIZE,
        kv_heads: SHAPE.kv_heads,
        head_dim: SHAPE.head_dim,
        cache_type,
    };
    let cache = KvCache::new(shape).expect("memory for the cache");
    let mut blocks: Vec<u32> = (0..blocks as u32).collect();
    if order == Order::Shuffled {
        blocks.sort_by_key(|b| b.wrapping_mul(2_654_435_761));
    }
    let inverse_frequencies: Vec<f64> = (0..32).map(|i| 1e5f64.powf(-f64::from(i) / 32.0)).collect();
    let rotary = RotaryTable::new(&inverse_frequencies, RotaryStyle::HalfSplit, 1.0, 8192)
        .expect("memory for the angles");
    let mut context = Context { cache, blocks };
    let places = prompts(sequences, tokens);
    let batch = BatchView { rows: &places, block_tables: &block_tables(&context.blocks, sequences) };
    let mut qkv = random_rows(places.len());
    // The first round pays for fresh memory.
    let rounds = [(); 2].map(|()| {
        let start = Instant::now();
        for layer in 0..layers {
            let how = RotaryStore { batch: &batch, shape: &SHAPE, rotary: &rotary, layer };
            cpu.rotary_and_store(&mut qkv, &how, &mut context.cache);
        }
        start.elapsed().as_secs_f64() / places.len() as f64 * LAYERS as f64 / layers as f64
    });
    (context, rounds[1])
}

/// All rows of the prompts of some sequences.
fn prompts(sequences: usize, tokens: usize) -> Vec<RowPlace> {
    let rows =
        |sequence| (0..tokens as u32).map(move |position| RowPlace { sequence, position, is_prompt: true });
    (0..sequences as u32).flat_map(rows).collect()
}

fn random_rows(rows: usize) -> Rows {
    let mut qkv = Rows::new(rows, SHAPE.qkv_width());
    qkv.set_rows(rows);
    let mut state = 1u32;
    for row in 0..rows {
        for x in qkv.row_mut(row) {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *x = (state >> 8) as f32 / (1 << 23) as f32 - 1.0;
        }
    }
    qkv
}

fn median(sorted: Vec<f64>) -> f64 {
    sorted[sorted.len() / 2]
}

fn decode(cpu: &mut Cpu, (sequences, depth): (usize, usize), order: Order) {
    let (context, _) = context(cpu, (sequences, depth), LAYERS, order);
    let cache = &context.cache;
    let last = |sequence| RowPlace { sequence, position: depth as u32 - 1, is_prompt: false };
    let places: Vec<_> = (0..sequences as u32).map(last).collect();
    let batch = BatchView { rows: &places, block_tables: &block_tables(&context.blocks, sequences) };
    let qkv = random_rows(sequences);
    let mut out = Rows::new(sequences, SHAPE.out_width());
    out.set_rows(sequences);
    let bytes = cache.bytes_per_block() * context.blocks.len();
    let plain = touched(bytes);
    let mut step = |cpu: &mut Cpu| {
        for layer in 0..LAYERS {
            let input = AttentionInput { qkv: &qkv, batch: &batch, shape: &SHAPE, cache, layer };
            cpu.attention(&input, &mut out);
        }
    };
    let mut read = |cpu: &mut Cpu| plain_read(cpu.isa(), cpu.pool_mut(), &plain);
    let [time, read] = in_turn(41, cpu, [&mut step, &mut read]).map(median);
    let how = if order == Order::Shuffled { "blocks shuffled" } else { "in order" };
    let rate = |time: f64| format!("{:6.0} us, {:5.1} GB/s", time * 1e6, bytes as f64 / time / 1e9);
    println!(
        "  {sequences:2} at {depth:4}, {how}: a step {}; plain read {}; share {:3.0} %",
        rate(time),
        rate(read),
        read / time * 100.0
    );
}

fn prefill(cpu: &mut Cpu, prompt: usize) {
    let (context, stored) = context(cpu, (1, prompt), 4, Order::Shuffled);
    let places = prompts(1, prompt);
    let batch = BatchView { rows: &places, block_tables: &block_tables(&context.blocks, 1) };
    let qkv = random_rows(prompt);
    let mut out = Rows::new(prompt, SHAPE.out_width());
    out.set_rows(prompt);
    let input = AttentionInput { qkv: &qkv, batch: &batch, shape: &SHAPE, cache: &context.cache, layer: 0 };
    let mut attend = |cpu: &mut Cpu| cpu.attention(&input, &mut out);
    let mut multiply_add = |cpu: &mut Cpu| peak::run(cpu.isa(), cpu.pool_mut());
    let [time, peak] = in_turn(9, cpu, [&mut attend, &mut multiply_add]).map(median);
    let rate = (SHAPE.query_heads * prompt * prompt / 2 * SHAPE.head_dim * 4) as f64 / time;
    let peak = peak::operations(cpu.threads()) / peak;
    println!(
        "  prompt of {prompt:4}: {:5.0} GFLOPS; multiply-adds alone {:5.0}; share {:3.0} %; {:5.1} us a token over \
         {LAYERS} layers; rotary and store {:4.1} us",
        rate / 1e9,
        peak / 1e9,
        rate / peak * 100.0,
        time * LAYERS as f64 * 1e6 / prompt as f64,
        stored * 1e6
    );
}
