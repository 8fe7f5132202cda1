//! The operations one by one, as the decoder calls them.

use ostro_kernels::cpu::attention::{BatchView, HeadShape, RowPlace};
use ostro_kernels::cpu::block::WeightType;
use ostro_kernels::cpu::embedding::Embeddings;
use ostro_kernels::cpu::kv_cache::{CacheType, KvCache, KvCacheShape};
use ostro_kernels::cpu::ops::Cpu;
use ostro_kernels::cpu::ops::linear::Activation;
use ostro_kernels::cpu::ops::norm::HeadNorm;
use ostro_kernels::cpu::ops::rotary::RotaryStore;
use ostro_kernels::cpu::pack::PackedMatrix;
use ostro_kernels::cpu::rotary::{RotaryStyle, RotaryTable};
use ostro_kernels::cpu::rows::Rows;
use ostro_kernels::cpu::simd::{Kernel, LANES, Simd16};

use crate::matrices::activations;
use crate::roof::{Roof, on_shares};
use crate::turns::in_turn;
use crate::{Call, GATED, HIDDEN, LAYERS, TIMES, VOCABULARY};

/// Of the file's head, which has the rows of the vocabulary too.
pub(crate) const TABLE_TYPE: WeightType = WeightType::Q8_0;
const SHAPE: HeadShape = HeadShape { query_heads: 9, kv_heads: 3, head_dim: 64, scale: 0.125 };
const FLOAT: usize = size_of::<f32>();
const BLOCK_SIZE: usize = 32;
/// Rows from which on they are of one prompt, and not each of another sequence.
const PROMPT: usize = 512;

/// Four products, rotary and attention a layer, vocabulary and head.
const REGIONS: usize = 6 * LAYERS + 2;

/// What starting and ending a region takes, and meeting inside of it.
pub(crate) fn regions(cpu: &mut Cpu) {
    const CALLS: usize = 1000;
    let runs = in_turn(
        TIMES,
        cpu.pool_mut(),
        [&mut |pool| (0..CALLS).for_each(|_| pool.run(&|_| ())), &mut |pool| {
            (0..CALLS).for_each(|_| pool.run(&|team| team.barrier()));
        }],
    );
    let [empty, barrier] = runs.map(|seconds| seconds[0] * 1e6 / CALLS as f64);
    println!(
        "  empty region {empty:.3} us, {:.1} us a step of {REGIONS}; a barrier in it {:.3} us",
        empty * REGIONS as f64,
        (barrier - empty).max(0.0)
    );
}

/// Other tokens with each call, as from step to step. (Of the table's panels a row takes a tenth or less of each line.)
pub(crate) fn embed(cpu: &mut Cpu, table: &PackedMatrix, rows: usize) -> f64 {
    let read = rows * TABLE_TYPE.bytes_of(HIDDEN).expect("whole blocks");
    let written = rows * HIDDEN * FLOAT;
    let mut out = Rows::new(rows, HIDDEN);
    let mut tokens = vec![0u32; rows];
    let mut state = 1u32;
    let call = Call { name: "rows of the vocabulary", rows, read, written, in_step: 1 };
    call.rate(cpu, Roof::spread(read, written, table.bytes()), |cpu| {
        for token in &mut tokens {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *token = (state >> 8) % VOCABULARY as u32;
        }
        cpu.embed(Embeddings { table: None, head: table }, &tokens, &mut out);
    })
}

/// Layer after layer, into a cache of f16.
pub(crate) fn rotary_and_store(cpu: &mut Cpu, rows: usize) -> f64 {
    let places: Vec<RowPlace> = (0..rows as u32).map(|row| place(row, rows)).collect();
    let sequences = if rows < PROMPT { rows } else { 1 };
    let (blocks, kv_heads, head_dim) =
        (sequences * PROMPT.div_ceil(BLOCK_SIZE), SHAPE.kv_heads, SHAPE.head_dim);
    let cache_type = CacheType::F16;
    let shape =
        KvCacheShape { layers: LAYERS, blocks, block_size: BLOCK_SIZE, kv_heads, head_dim, cache_type };
    let mut cache = KvCache::new(shape).expect("memory for the cache");
    let ids: Vec<u32> = (0..blocks as u32).collect();
    let tables: Vec<&[u32]> = ids.chunks(blocks / sequences).collect();
    let frequencies: Vec<f64> = (0..32).map(|i| 1e5f64.powf(-f64::from(i) / 32.0)).collect();
    let rotary = RotaryTable::new(&frequencies, RotaryStyle::HalfSplit, 1.0, 8192).expect("memory");
    let mut qkv = activations(rows, SHAPE.qkv_width());

    let positions = rows / sequences;
    let read = FLOAT * (rows * SHAPE.qkv_width() + positions * head_dim);
    let rotated = (SHAPE.query_heads + kv_heads) * head_dim;
    let written = rows * (rotated * FLOAT + 2 * kv_heads * head_dim * size_of::<u16>());
    let call = Call { name: "rotary, keys and values stored", rows, read, written, in_step: LAYERS };
    let mut layer = 0;
    let mut store = |cpu: &mut Cpu| {
        layer = (layer + 1) % LAYERS;
        let batch = BatchView { rows: &places, block_tables: &tables };
        let how = RotaryStore { batch: &batch, shape: &SHAPE, rotary: &rotary, layer };
        cpu.rotary_and_store(&mut qkv, &how, &mut cache);
    };
    // The first round pays for fresh memory.
    (0..LAYERS).for_each(|_| store(cpu));
    call.rate(cpu, Roof::cached(read, written), store)
}

fn place(row: u32, rows: usize) -> RowPlace {
    if rows < PROMPT {
        RowPlace { sequence: row, position: 100, is_prompt: false }
    } else {
        RowPlace { sequence: 0, position: row, is_prompt: true }
    }
}

/// Of models such as Qwen 3, in rows of this shape.
pub(crate) fn head_norm(cpu: &mut Cpu, rows: usize) {
    let mut qkv = activations(rows, SHAPE.qkv_width());
    let weight = vec![1.0; SHAPE.head_dim];
    let norm = HeadNorm { query_weight: &weight, key_weight: &weight, eps: 1e-6 };
    let written = rows * (SHAPE.query_heads + SHAPE.kv_heads) * SHAPE.head_dim * FLOAT;
    let read = written + 2 * SHAPE.head_dim * FLOAT;
    let call = Call { name: "norm of heads (Qwen 3)", rows, read, written, in_step: 0 };
    call.rate(cpu, Roof::cached(read, written), |cpu| cpu.head_norm(&mut qkv, &SHAPE, &norm));
}

/// silu(gate) * up. In a product it meets its input in the nearest cache: a row stands for all.
pub(crate) fn gate(cpu: &mut Cpu, rows: usize) -> f64 {
    let x = activations(2, GATED);
    let (gate, up) = (x.row(0), x.row(1));
    let mut out = vec![0.0f32; rows * GATED];
    let call = Call {
        name: "gate (exponentials)",
        rows,
        read: 2 * GATED * FLOAT,
        written: rows * GATED * FLOAT,
        in_step: LAYERS,
    };
    call.time(cpu, |cpu| {
        let isa = cpu.isa();
        // Threads share outputs.
        on_shares(cpu.pool_mut(), &mut out, LANES, |_, out| {
            for out in out.chunks_mut(GATED) {
                isa.run(Gate { gate: &gate[..out.len()], up: &up[..out.len()], out });
            }
        });
    })
}

struct Gate<'a> {
    gate: &'a [f32],
    up: &'a [f32],
    out: &'a mut [f32],
}

impl Kernel for Gate<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd16>(self) {
        let (gate, up) = (self.gate.as_chunks::<LANES>().0, self.up.as_chunks::<LANES>().0);
        for ((gate, up), out) in gate.iter().zip(up).zip(self.out.as_chunks_mut::<LANES>().0) {
            // SAFETY: whole vectors; the instruction set is the caller's promise.
            unsafe {
                let gate = Activation::Silu.apply::<S>(S::load(gate.as_ptr()));
                S::store(out.as_mut_ptr(), S::mul(gate, S::load(up.as_ptr())));
            }
        }
    }
}
