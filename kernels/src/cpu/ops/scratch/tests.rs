use super::*;
use crate::cpu::attention::{BatchView, RowPlace};
use crate::cpu::block::{BlockFormat, WeightType};
use crate::cpu::head::Head;
use crate::cpu::kv_cache::{CacheType, KvCache, KvCacheShape};
use crate::cpu::ops::attention::AttentionInput;
use crate::cpu::ops::linear::{Activation, GatedWeights, LinearInput, LinearWeights, Norm, Split, Store};
use crate::cpu::pack::{MatrixBytes, PackedMatrix};
use crate::cpu::rows::Rows;

/// A layer of zeros: how much memory a step takes does not depend on the numbers.
struct Layer {
    limits: ScratchLimits,
    hidden: usize,
    gate: PackedMatrix,
    down: PackedMatrix,
    /// As wide as `gate`.
    head: Head,
    cache: KvCache,
    blocks: Vec<u32>,
}

impl Layer {
    fn new(
        (rows, positions): (usize, usize),
        (query_heads, kv_heads, head_dim): (usize, usize, usize),
        (weight_type, hidden, columns): (WeightType, usize, usize),
    ) -> Self {
        let matrix = |columns: usize| {
            let bytes = vec![0; 40 * weight_type.bytes_of(columns).unwrap()];
            let matrix = MatrixBytes { weight_type, rows: 40, columns, bytes: &bytes };
            PackedMatrix::pack(matrix, &mut Cpu::new(Isa::PORTABLE, 1)).unwrap()
        };
        let bytes = vec![0; 40 * weight_type.bytes_of(hidden).unwrap()];
        let head = MatrixBytes { weight_type, rows: 40, columns: hidden, bytes: &bytes };
        let cpu = &mut Cpu::new(Isa::PORTABLE, 1);
        let head = match BlockFormat::of(weight_type) {
            Some(_) => Head::pack_estimated(head, cpu),
            None => Head::pack(head, cpu),
        };
        let head = head.unwrap();
        let (gate, down) = (matrix(hidden), matrix(columns));
        let mut columns = InputColumns { normed: hidden, ..InputColumns::default() };
        [&gate, &down].into_iter().for_each(|matrix| columns.add(matrix));
        columns.add_head(&head);
        let shape = HeadShape { query_heads, kv_heads, head_dim, scale: 1.0 };
        let (block_size, blocks) = (16, positions.div_ceil(16));
        let cache_type = CacheType::F16;
        let cache =
            KvCache::new(KvCacheShape { layers: 1, blocks, block_size, kv_heads, head_dim, cache_type });
        Layer {
            limits: ScratchLimits { rows, sampled: rows, positions, block_size, shape, columns },
            hidden,
            gate,
            down,
            head,
            cache: cache.unwrap(),
            blocks: (0..blocks as u32).collect(),
        }
    }

    /// One step whose sequences have so many rows each, up to the last position; they share their blocks.
    fn step(&self, cpu: &mut Cpu, tokens: &[usize], is_prompt: bool) {
        let last = self.limits.positions;
        let places: Vec<RowPlace> = (0..)
            .zip(tokens)
            .flat_map(|(sequence, tokens)| {
                (last - tokens..last).map(move |position| RowPlace {
                    sequence,
                    position: position as u32,
                    is_prompt,
                })
            })
            .collect();
        let tables = vec![self.blocks.as_slice(); tokens.len()];
        let batch = BatchView { rows: &places, block_tables: &tables };
        let shape = &self.limits.shape;
        let (qkv, mut out) =
            (Rows::new(places.len(), shape.qkv_width()), Rows::new(places.len(), shape.out_width()));
        cpu.attention(
            &AttentionInput { qkv: &qkv, batch: &batch, shape, cache: &self.cache, layer: 0 },
            &mut out,
        );
        self.products(cpu, places.len(), if is_prompt { places.len() } else { 0 });
        self.products(cpu, places.len(), places.len() / 2);
    }

    /// With so many rows, of which the last ones are prompts.
    fn products(&self, cpu: &mut Cpu, rows: usize, prompts: usize) {
        let all: Vec<u32> = (0..rows as u32).collect();
        let (generated, prompt) = all.split_at(rows - prompts);
        let split = Some(Split { generated, prompt });
        let weight = vec![1.0; self.hidden];
        let norm = Some(Norm { weight: &weight, eps: 1e-6 });
        let (x, gated) = (Rows::new(rows, self.hidden), Rows::new(rows, self.down.columns()));
        let mut out = Rows::new(rows, 40);
        let (gate, up, activation) = (&self.gate, &self.gate, Activation::Silu);
        cpu.gated_linear(LinearInput { x: &x, norm, split }, GatedWeights { gate, up, activation }, &mut out);
        let weights = |parts| LinearWeights { parts, bias: None };
        let parts = &[&self.down][..];
        cpu.linear(LinearInput { x: &gated, norm: None, split }, weights(parts), &mut out, Store::Replace);
        let parts = &[&self.gate][..];
        let input = LinearInput { x: &x, norm, split: None };
        cpu.linear_rows(input, &all, weights(parts), &mut out);
        if self.head.is_estimated() {
            assert!(cpu.largest_outputs(input, &all, &self.head, &mut out).all(|first| first == Some(0)));
        }
    }
}

/// That steps up to the limits take what was told before, and only when it was asked for.
fn check(layer: &Layer, isa: Isa, threads: usize) {
    let limits = &layer.limits;
    let mut cpu = Cpu::new(isa, threads);
    cpu.reserve(limits).unwrap();
    let told = limits.bytes(isa, threads) - threads * STACK_BYTES;
    assert_eq!(cpu.scratch_bytes(), told, "{isa}, {threads} threads, {limits:?}");
    let rows = limits.rows;
    let few = rows.min(8);
    for tokens in [vec![1], vec![few], vec![rows], vec![1; rows], vec![few; rows / few], vec![1; rows.min(3)]]
    {
        for is_prompt in [false, true] {
            layer.step(&mut cpu, &tokens, is_prompt);
            assert_eq!(cpu.scratch_bytes(), told, "{isa}, {threads} threads, {tokens:?} of {limits:?}");
        }
    }
}

#[test]
fn steps_take_what_was_reserved() {
    let layers = [
        Layer::new((17, 1100), (9, 3, 64), (WeightType::Q4_0, 96, 1184)),
        Layer::new((3, 300), (4, 1, 40), (WeightType::Q6_K, 512, 256)),
        Layer::new((40, 200), (5, 1, 8), (WeightType::F16, 33, 100)),
        Layer::new((1, 3000), (30, 1, 16), (WeightType::Q8_0, 32, 64)),
        Layer::new((12, 600), (2, 2, 256), (WeightType::BF16, 40, 7)),
    ];
    for isa in Isa::supported() {
        for threads in [1, 3] {
            layers.iter().for_each(|layer| check(layer, isa, threads));
        }
    }
}

#[test]
fn steps_on_a_matrix_unit_take_what_was_reserved() {
    for isa in Isa::with_matrix_unit() {
        check(&Layer::new((9, 300), (2, 1, 40), (WeightType::Q5_K, 256, 768)), isa, 2);
        check(&Layer::new((20, 70), (1, 1, 16), (WeightType::Q8_0, 96, 32)), isa, 3);
    }
}

/// A fresh processor takes at a step what the step needs.
#[test]
fn a_step_at_the_limits_needs_what_is_told() {
    let layer = Layer::new((8, 4000), (9, 3, 64), (WeightType::Q4_0, 96, 1184));
    let told = layer.limits.bytes(Isa::PORTABLE, 2);
    let mut cpu = Cpu::new(Isa::PORTABLE, 2);
    layer.step(&mut cpu, &[8], false);
    let needed = cpu.scratch_bytes();
    assert!(needed <= told && needed > told / 4, "{needed} bytes, told were {told}");
}

#[test]
#[should_panic(expected = "beyond the limits")]
#[cfg(debug_assertions)]
fn a_step_beyond_the_limits_is_noticed() {
    let layer = Layer::new((4, 300), (2, 1, 16), (WeightType::F32, 8, 9));
    let mut cpu = Cpu::new(Isa::PORTABLE, 1);
    cpu.reserve(&layer.limits).unwrap();
    layer.step(&mut cpu, &[5], false);
}
