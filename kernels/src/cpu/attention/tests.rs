//! The contract: the same bits on every path, and close to a softmax in f64.

use super::{BatchView, HeadShape, RowPlace};
use crate::cpu::isa::Isa;
use crate::cpu::kv_cache::{CacheType, KvCache, KvCacheShape};
use crate::cpu::ops::Cpu;
use crate::cpu::ops::attention::AttentionInput;
use crate::cpu::ops::rotary::RotaryStore;
use crate::cpu::rotary::{RotaryStyle, RotaryTable};
use crate::cpu::rows::Rows;
use std::ops::Range;

mod reserved;

/// A model layer and some sequences over it.
struct Case {
    shape: HeadShape,
    block_size: usize,
    cache_type: CacheType,
    lengths: Vec<usize>,
    /// The first two thirds of each sequence are its prompt.
    has_prompts: bool,
}

/// Which rows a step takes: (sequence, positions) after one another.
type Step = Vec<(usize, Range<usize>)>;

/// A random number in -1..1 that depends on its coordinates only.
fn random(seed: u64) -> f32 {
    let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d;
    for _ in 0..3 {
        x ^= x >> 29;
        x = x.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    }
    ((x >> 40) as f32 / (1u64 << 23) as f32) - 1.0
}

impl Case {
    fn new(
        heads: (usize, usize, usize),
        block_size: usize,
        cache_type: CacheType,
        lengths: &[usize],
    ) -> Self {
        let (query_heads, kv_heads, head_dim) = heads;
        let scale = 1.0 / (head_dim as f32).sqrt();
        let shape = HeadShape { query_heads, kv_heads, head_dim, scale };
        Self { shape, block_size, cache_type, lengths: lengths.to_vec(), has_prompts: false }
    }

    fn place(&self, sequence: usize, position: usize) -> RowPlace {
        let is_prompt = self.has_prompts && position < self.lengths[sequence].div_ceil(3) * 2;
        RowPlace { sequence: sequence as u32, position: position as u32, is_prompt }
    }

    /// A row of queries, keys and values; queries are large enough that weights differ much.
    fn qkv(&self, sequence: usize, position: usize) -> Vec<f32> {
        let queries = self.shape.out_width();
        let at = (sequence * 10_000 + position) * self.shape.qkv_width();
        (0..self.shape.qkv_width())
            .map(|i| random((at + i) as u64) * if i < queries { 8.0 } else { 1.0 })
            .collect()
    }

    /// Blocks dealt out to the sequences in a shuffled order.
    fn block_tables(&self) -> (usize, Vec<Vec<u32>>) {
        let needed: Vec<usize> = self.lengths.iter().map(|n| n.div_ceil(self.block_size)).collect();
        let total: usize = needed.iter().sum();
        let mut blocks: Vec<u32> = (0..total as u32).collect();
        blocks.sort_by_key(|&b| random(u64::from(b) + 77).to_bits());
        let mut blocks = blocks.into_iter();
        (total, needed.iter().map(|&n| blocks.by_ref().take(n).collect()).collect())
    }

    fn cache(&self, blocks: usize) -> KvCache {
        let shape = KvCacheShape {
            layers: 2,
            blocks,
            block_size: self.block_size,
            kv_heads: self.shape.kv_heads,
            head_dim: self.shape.head_dim,
            cache_type: self.cache_type,
        };
        let mut cache = KvCache::new(shape).unwrap();
        // What nobody has written must not matter, even where it is NaN in every type.
        cache.fill_bytes(0xff);
        cache
    }

    fn frequencies(&self) -> Vec<f64> {
        (0..self.shape.head_dim / 4).map(|i| 0.9f64.powi(i as i32)).collect()
    }

    /// The outputs of all rows, `[sequence][position]`, after the given steps.
    fn run(&self, cpu: &mut Cpu, steps: &[Step]) -> Vec<Vec<Vec<f32>>> {
        let (blocks, tables) = self.block_tables();
        let tables: Vec<&[u32]> = tables.iter().map(Vec::as_slice).collect();
        let mut cache = self.cache(blocks);
        let rotary = RotaryTable::new(&self.frequencies(), RotaryStyle::HalfSplit, 1.0, 2048).unwrap();
        let mut outputs: Vec<Vec<Vec<f32>>> = self.lengths.iter().map(|&n| vec![Vec::new(); n]).collect();
        for step in steps {
            let places: Vec<RowPlace> =
                step.iter().flat_map(|(s, range)| range.clone().map(|p| self.place(*s, p))).collect();
            let batch = BatchView { rows: &places, block_tables: &tables };
            let mut qkv = Rows::new(places.len(), self.shape.qkv_width());
            let mut out = Rows::new(places.len(), self.shape.out_width());
            qkv.set_rows(places.len());
            out.set_rows(places.len());
            for (i, place) in places.iter().enumerate() {
                qkv.row_mut(i).copy_from_slice(&self.qkv(place.sequence as usize, place.position as usize));
            }
            let how = RotaryStore { batch: &batch, shape: &self.shape, rotary: &rotary, layer: 1 };
            cpu.rotary_and_store(&mut qkv, &how, &mut cache);
            let input =
                AttentionInput { qkv: &qkv, batch: &batch, shape: &self.shape, cache: &cache, layer: 1 };
            cpu.attention(&input, &mut out);
            for (i, place) in places.iter().enumerate() {
                outputs[place.sequence as usize][place.position as usize] = out.row(i).to_vec();
            }
        }
        outputs
    }

    /// Each sequence alone, in chunks of `chunk` rows.
    fn alone(&self, chunk: usize) -> Vec<Step> {
        let chunks = |(s, &n): (usize, &usize)| {
            (0..n).step_by(chunk).map(move |from| vec![(s, from..n.min(from + chunk))])
        };
        self.lengths.iter().enumerate().flat_map(chunks).collect()
    }

    /// All sequences together, sequence `s` in chunks of `chunks[s % chunks.len()]` rows.
    fn together(&self, chunks: &[usize]) -> Vec<Step> {
        let mut done = vec![0; self.lengths.len()];
        let mut steps = Vec::new();
        loop {
            let mut step = Step::new();
            for (s, done) in done.iter_mut().enumerate() {
                let end = self.lengths[s].min(*done + chunks[s % chunks.len()]);
                if *done < end {
                    step.push((s, *done..end));
                    *done = end;
                }
            }
            if step.is_empty() {
                return steps;
            }
            steps.push(step);
        }
    }
}

fn bits(outputs: &[Vec<Vec<f32>>]) -> Vec<Vec<Vec<u32>>> {
    let row = |row: &Vec<f32>| row.iter().map(|x| x.to_bits()).collect();
    outputs.iter().map(|rows| rows.iter().map(row).collect()).collect()
}

fn check_bits(case: &Case) {
    check_bits_on(case, &Isa::supported());
}

/// The last one is the measure of all.
fn check_bits_on(case: &Case, isas: &[Isa]) {
    let best = isas[isas.len() - 1];
    let expected = bits(&case.run(&mut Cpu::new(best, 1), &case.alone(usize::MAX)));
    let check = |isa: Isa, threads: usize, steps: &[Step], what: &str| {
        let got = bits(&case.run(&mut Cpu::new(isa, threads), steps));
        for (s, (got, expected)) in got.iter().zip(&expected).enumerate() {
            for (p, (got, expected)) in got.iter().zip(expected).enumerate() {
                assert!(
                    got == expected,
                    "{:?} {:?} block {} {isa:?} {threads} threads, {what}: sequence {s} position {p}",
                    case.shape,
                    case.cache_type,
                    case.block_size
                );
            }
        }
    };
    check(best, 2, &case.alone(1), "one row a step");
    check(best, 3, &case.alone(7), "chunks of 7");
    check(best, 2, &case.alone(100), "chunks of 100");
    check(best, 2, &case.together(&[1, 33, 5, 400]), "a mixed batch");
    check(best, 1, &case.together(&[2]), "pairs in a batch");
    for &isa in isas {
        check(isa, 2, &case.alone(usize::MAX), "whole prompts");
        check(isa, 1, &case.together(&[1, 50]), "decode beside prompts");
    }
}

/// Of little work, so that they take little time under emulation too.
#[test]
fn short_sequences_have_the_same_bits_on_every_path() {
    for (heads, cache_type) in
        [((2, 1, 64), CacheType::F16), ((1, 1, 24), CacheType::Bf16), ((1, 1, 16), CacheType::F32)]
    {
        let case = Case::new(heads, 16, cache_type, &[66, 3]);
        check_bits(&case);
        check_bits_on(&Case { has_prompts: true, ..case }, &Isa::with_matrix_unit());
    }
}

#[test]
fn every_path_gives_the_same_bits() {
    let lengths = [1, 63, 66, 257, 130];
    for (heads, block_size, cache_type) in [
        ((9, 3, 64), 32, CacheType::F16),
        ((4, 4, 48), 16, CacheType::F16),
        ((4, 1, 80), 64, CacheType::Bf16),
        ((7, 1, 96), 16, CacheType::Bf16),
        ((1, 1, 128), 32, CacheType::F32),
        ((3, 1, 256), 16, CacheType::F32),
        ((4, 2, 40), 64, CacheType::F16),
        ((5, 1, 8), 32, CacheType::Bf16),
        ((100, 1, 8), 32, CacheType::F16),
    ] {
        check_bits(&Case::new(heads, block_size, cache_type, &lengths));
    }
}

#[test]
fn every_path_gives_the_same_bits_over_several_parts() {
    check_bits(&Case::new((3, 1, 64), 32, CacheType::F16, &[1100, 513, 768]));
    check_bits(&Case::new((1, 1, 16), 16, CacheType::F32, &[255, 256, 300, 512, 1025]));
}

#[test]
fn prompts_have_bits_of_their_own_on_every_path() {
    for (heads, block_size, cache_type, lengths) in [
        ((9, 3, 64), 32, CacheType::F16, &[1, 63, 66, 257, 130][..]),
        ((4, 4, 48), 16, CacheType::F16, &[20, 140]),
        ((4, 1, 80), 64, CacheType::Bf16, &[75, 130]),
        ((1, 1, 128), 32, CacheType::F32, &[90, 33]),
        ((3, 1, 256), 16, CacheType::F32, &[70]),
        ((4, 2, 40), 64, CacheType::F16, &[99]),
        ((100, 1, 8), 32, CacheType::F16, &[66]),
        ((1, 1, 16), 16, CacheType::F32, &[255, 256, 512, 1025]),
    ] {
        let case = Case { has_prompts: true, ..Case::new(heads, block_size, cache_type, lengths) };
        check_bits_on(&case, &Isa::with_matrix_unit());
    }
}

#[test]
fn rows_that_are_no_prompts_keep_their_bits_beside_prompts() {
    let case = Case::new((2, 1, 64), 32, CacheType::F16, &[90]);
    let plain = case.run(&mut Cpu::new(Isa::detect(), 1), &case.alone(usize::MAX));
    let mixed = Case { has_prompts: true, ..Case::new((2, 1, 64), 32, CacheType::F16, &[90]) };
    for isa in Isa::with_matrix_unit() {
        let got = bits(&mixed.run(&mut Cpu::new(isa, 1), &mixed.alone(usize::MAX)));
        assert_eq!(got[0][60..], bits(&plain)[0][60..], "{isa}");
        assert_ne!(got[0][..60], bits(&plain)[0][..60], "{isa}");
    }
}

/// Softmax attention in f64 over keys and values as the cache rounds them.
fn reference(case: &Case, sequence: usize, position: usize) -> Vec<f64> {
    let HeadShape { query_heads, kv_heads, head_dim, scale } = case.shape;
    let table = RotaryTable::new(&case.frequencies(), RotaryStyle::HalfSplit, 1.0, 2048).unwrap();
    let round = |x: f32| match case.cache_type {
        CacheType::F32 => f64::from(x),
        CacheType::F16 => half::f16::from_f32(x).to_f64(),
        CacheType::Bf16 => half::bf16::from_f32(x).to_f64(),
    };
    let rows: Vec<Vec<f32>> = (0..=position)
        .map(|p| {
            let mut row = case.qkv(sequence, p);
            for head in row[..(query_heads + kv_heads) * head_dim].chunks_exact_mut(head_dim) {
                crate::cpu::rotary::rotate(head, table.at(p as u32), RotaryStyle::HalfSplit);
            }
            row
        })
        .collect();
    let mut out = Vec::new();
    for head in 0..query_heads {
        let of = |row: &[f32], head: usize| row[head * head_dim..(head + 1) * head_dim].to_vec();
        let kv = head / case.shape.group();
        let q = of(&rows[position], head);
        let dot = |k: Vec<f32>| q.iter().zip(k).map(|(&q, k)| f64::from(q) * round(k)).sum::<f64>();
        let scores: Vec<f64> =
            rows.iter().map(|row| dot(of(row, query_heads + kv)) * f64::from(scale)).collect();
        let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let weights: Vec<f64> = scores.iter().map(|s| (s - max).exp()).collect();
        let sum: f64 = weights.iter().sum();
        out.extend((0..head_dim).map(|d| {
            let value = |row: &Vec<f32>| round(of(row, query_heads + kv_heads + kv)[d]);
            rows.iter().zip(&weights).map(|(row, w)| w * value(row)).sum::<f64>() / sum
        }));
    }
    out
}

#[test]
fn attention_is_close_to_a_softmax_in_f64() {
    for (heads, block_size, cache_type) in [
        ((6, 2, 64), 32, CacheType::F16),
        ((2, 2, 48), 16, CacheType::F32),
        ((4, 1, 80), 64, CacheType::Bf16),
        ((2, 1, 256), 16, CacheType::F16),
    ] {
        let mut case = Case::new(heads, block_size, cache_type, &[700]);
        let unit = Isa::with_matrix_unit().pop().unwrap();
        // Values are below 1; scores up to about 30 carry errors of some 2^-24 each, or 2^-17 of prompts.
        for (has_prompts, isa, tolerance) in [(false, Isa::detect(), 1e-5), (true, unit, 2e-4)] {
            case.has_prompts = has_prompts;
            let got = case.run(&mut Cpu::new(isa, 2), &case.alone(usize::MAX));
            for position in [0, 1, 62, 63, 64, 65, 255, 256, 257, 465, 512, 699] {
                let expected = reference(&case, 0, position);
                for (i, (&got, &expected)) in got[0][position].iter().zip(&expected).enumerate() {
                    assert!(
                        (f64::from(got) - expected).abs() < tolerance,
                        "{heads:?} {cache_type:?} {isa} position {position} output {i}: {got} for {expected}"
                    );
                }
            }
        }
    }
}

#[test]
#[should_panic(expected = "a block beyond the cache")]
fn a_block_beyond_the_cache_panics() {
    let case = Case::new((1, 1, 16), 16, CacheType::F32, &[20]);
    let cache = case.cache(2);
    let batch = BatchView {
        rows: &[RowPlace { sequence: 0, position: 19, is_prompt: false }],
        block_tables: &[&[0, 2]],
    };
    let (mut qkv, mut out) = (Rows::new(1, 48), Rows::new(1, 16));
    qkv.set_rows(1);
    out.set_rows(1);
    let input = AttentionInput { qkv: &qkv, batch: &batch, shape: &case.shape, cache: &cache, layer: 0 };
    Cpu::new(Isa::detect(), 1).attention(&input, &mut out);
}
