//! Attention over the paged cache, and what it is in f64: heads as models have them.

use ostro_kernels::cpu::attention::{HeadShape, RowPlace};
use ostro_kernels::cpu::block::WeightType;
use ostro_kernels::cpu::kv_cache::{CacheType, KvCacheShape};
use ostro_kernels::cuda::{
    Attention, Cuda, CudaKvCache, CudaMatrix, CudaRows, CudaTable, Ended, Linear, Rotary, RowsUse,
    StepLimits, StepView, Work,
};

use crate::products::{Random, dequantised, distance, multiplied, read, weights};

const ROWS_MAX: usize = 400;
const BLOCK_SIZE: usize = 16;
const BLOCKS: u32 = 64;
/// Not the first, so that a layer's place in the cache counts.
const LAYER: usize = 1;
/// Outputs of the product that brings halves back as floats.
const OUTPUTS: usize = 64;

/// Where each sequence's steps begin and the last one ends: a prompt, its second chunk, a generated token. Parts have
/// 128 keys, tiles of prompt rows 64.
const STEPS: [[u32; 4]; 3] = [[0, 1, 127, 128], [0, 65, 128, 129], [0, 130, 300, 301]];

/// Queries, keys and values of all tokens, one sequence after another; exact in f16.
struct Tokens {
    shape: HeadShape,
    halves: Vec<u8>,
    floats: Vec<f32>,
}

impl Tokens {
    fn new(shape: HeadShape) -> Self {
        let mut random = Random(shape.out_width() as u64);
        let elements = Self::count() * shape.qkv_width();
        // Large enough that scores differ by some units.
        let halves: Vec<u8> =
            (0..elements).flat_map(|_| half::f16::from_f32(3.0 * random.float()).to_le_bytes()).collect();
        let floats = dequantised(WeightType::F16, &halves, elements);
        Tokens { shape, halves, floats }
    }

    fn count() -> usize {
        STEPS.iter().map(|steps| steps[3] as usize).sum()
    }

    fn id(sequence: u32, position: u32) -> u32 {
        STEPS[..sequence as usize].iter().map(|steps| steps[3]).sum::<u32>() + position
    }

    /// One of a token's query heads, key heads and value heads, which follow each other.
    fn head(&self, sequence: u32, position: u32, index: usize) -> &[f32] {
        let first = Self::id(sequence, position) as usize * self.shape.qkv_width();
        &self.floats[first + index * self.shape.head_dim..][..self.shape.head_dim]
    }

    /// What a token's heads make of the keys and values up to its own.
    fn attended(&self, place: &RowPlace) -> Vec<f64> {
        (0..self.shape.query_heads).flat_map(|head| self.attended_by(head, place)).collect()
    }

    fn attended_by(&self, head: usize, &RowPlace { sequence, position, .. }: &RowPlace) -> Vec<f64> {
        let key_head = self.shape.query_heads + head / self.shape.group();
        let query = self.head(sequence, position, head);
        let scores = (0..=position).map(|key| {
            let keys = self.head(sequence, key, key_head);
            let product: f64 = query.iter().zip(keys).map(|(q, k)| f64::from(*q) * f64::from(*k)).sum();
            product * f64::from(self.shape.scale)
        });
        let scores: Vec<f64> = scores.collect();
        let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let weights: Vec<f64> = scores.iter().map(|score| (score - largest).exp()).collect();
        let sum: f64 = weights.iter().sum();
        let mut out = vec![0.0; self.shape.head_dim];
        for (key, weight) in (0..=position).zip(&weights) {
            let values = self.head(sequence, key, key_head + self.shape.kv_heads);
            for (out, value) in out.iter_mut().zip(values) {
                *out += weight / sum * f64::from(*value);
            }
        }
        out
    }
}

/// What all steps share.
struct Layer {
    shape: HeadShape,
    table: CudaTable,
    cache: CudaKvCache,
    rotary: Rotary,
    projection: CudaMatrix,
    qkv: CudaRows,
    out: CudaRows,
}

impl Layer {
    fn new(tokens: &Tokens, projection: &[u8], cuda: &mut Cuda) -> Self {
        let shape = tokens.shape;
        let table =
            cuda.load_table(WeightType::F16, [Tokens::count(), shape.qkv_width()], &tokens.halves).unwrap();
        let projection = cuda.load_matrix(WeightType::F16, [OUTPUTS, shape.out_width()], projection).unwrap();
        let limits = StepLimits { rows: ROWS_MAX, sampled: 4, positions: 512, block_size: BLOCK_SIZE, shape };
        cuda.reserve(&limits).unwrap();
        let cache = KvCacheShape {
            layers: LAYER + 1,
            blocks: BLOCKS as usize,
            block_size: BLOCK_SIZE,
            kv_heads: shape.kv_heads,
            head_dim: shape.head_dim,
            cache_type: CacheType::F16,
        };
        Layer {
            shape,
            table,
            cache: cuda.allocate_cache(cache).unwrap(),
            // Without pairs nothing turns.
            rotary: Rotary { angles: cuda.load_vector(&[1.0]).unwrap(), dims: 0, interleaved: false },
            projection,
            qkv: cuda.allocate_rows(ROWS_MAX, shape.qkv_width(), RowsUse::Sums).unwrap(),
            out: cuda.allocate_rows(ROWS_MAX, shape.out_width(), RowsUse::Factors).unwrap(),
        }
    }

    /// The projection's products with the attention of these rows.
    fn run(&self, places: &[RowPlace], tables: &[&[u32]], cuda: &mut Cuda) -> CudaRows {
        let Layer { shape, table, cache, rotary, projection, qkv, out } = self;
        // Zeros, to which the products are added.
        let sums = cuda.allocate_rows(ROWS_MAX, OUTPUTS, RowsUse::Sums).unwrap();
        let tokens: Vec<u32> =
            places.iter().map(|place| Tokens::id(place.sequence, place.position)).collect();
        let view = StepView { tokens: &tokens, places, block_tables: tables, sampled: &[] };
        assert_eq!(cuda.begin(&view).unwrap(), Work::Queue);
        cuda.embed(table, qkv);
        cuda.rotary_store(qkv, shape, rotary, (cache, LAYER));
        cuda.attention(&Attention { qkv, shape, cache, layer: LAYER }, out);
        cuda.linear_add(out, &Linear { parts: &[projection], bias: None }, &sums);
        assert_eq!(cuda.end(), Ended::UnderWay);
        cuda.finish().unwrap();
        sums
    }
}

/// Blocks of the sequences, none of which follows its neighbour.
fn block_tables() -> [Vec<u32>; 3] {
    let mut blocks = (0..BLOCKS).map(|index| (index * 7 + 3) % BLOCKS);
    STEPS.map(|steps| blocks.by_ref().take((steps[3] as usize).div_ceil(BLOCK_SIZE)).collect())
}

fn places(step: usize) -> Vec<RowPlace> {
    let of = |(sequence, steps): (u32, [u32; 4])| {
        let is_prompt = step < 2;
        (steps[step]..steps[step + 1]).map(move |position| RowPlace { sequence, position, is_prompt })
    };
    (0..).zip(STEPS).flat_map(of).collect()
}

/// Prompts, their second chunks, and a generated token each, three sequences a step.
pub(crate) fn check(shape: HeadShape, cuda: &mut Cuda) {
    let tokens = Tokens::new(shape);
    let elements = OUTPUTS * shape.out_width();
    let projection = weights(WeightType::F16, elements, &mut Random(1));
    let layer = Layer::new(&tokens, &projection, cuda);
    let projection = dequantised(WeightType::F16, &projection, elements);
    let tables = block_tables();
    let tables = tables.each_ref().map(Vec::as_slice);
    for step in 0..3 {
        let places = places(step);
        let sums = layer.run(&places, &tables, cuda);
        for (row, place) in places.iter().enumerate() {
            // Of many rows every third, which is slow enough.
            if place.is_prompt && row % 3 != 0 {
                continue;
            }
            // Queries and weights of prompt rows are one half each; on Hopper their products are, too.
            let worst = if place.is_prompt { 3e-3 } else { 2e-5 };
            let expected = multiplied(&projection, &tokens.attended(place));
            let error = distance(&read(cuda, &sums, row), &expected);
            assert!(error < worst, "{shape:?}, {place:?}: {error}");
        }
    }
}
