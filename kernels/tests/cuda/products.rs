//! Products of rows with random matrices, and what they are in f64.

use ostro_kernels::cpu::attention::{HeadShape, RowPlace};
use ostro_kernels::cpu::block::WeightType;
use ostro_kernels::cuda::{
    Activation, Cuda, CudaRows, Ended, Linear, NormInput, RowsUse, StepLimits, StepView, Work,
};

const ROWS_MAX: usize = 300;
const EPS: f64 = 1e-5;

pub(crate) struct Random(pub(crate) u64);

impl Random {
    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as u32
    }

    /// -1 to 1.
    pub(crate) fn float(&mut self) -> f32 {
        self.next() as f32 / (1u32 << 30) as f32 - 1.0
    }
}

/// Blocks of random integers with scales near 0.01.
fn blocks(weight_type: WeightType, elements: usize, random: &mut Random) -> Vec<u8> {
    let f16_at: &[usize] = match weight_type {
        WeightType::Q4_1 | WeightType::Q5_1 | WeightType::Q4_K | WeightType::Q5_K => &[0, 2],
        WeightType::Q2_K => &[80, 82],
        WeightType::Q3_K => &[108],
        WeightType::Q6_K => &[208],
        _ => &[0],
    };
    let mut bytes = Vec::new();
    for _ in 0..elements / weight_type.block_elements() {
        let start = bytes.len();
        bytes.extend((0..weight_type.block_bytes()).map(|_| random.next() as u8));
        for at in f16_at {
            let scale = half::f16::from_f32(0.01 * random.float());
            bytes[start + at..][..2].copy_from_slice(&scale.to_le_bytes());
        }
    }
    bytes
}

fn floats(elements: usize, random: &mut Random) -> impl Iterator<Item = f32> {
    (0..elements).map(|_| 0.05 * random.float())
}

/// Those of F32 are exact in f16, as which a device keeps them.
pub(crate) fn weights(weight_type: WeightType, elements: usize, random: &mut Random) -> Vec<u8> {
    let halves = |random| floats(elements, random).map(half::f16::from_f32);
    match weight_type {
        WeightType::F32 => halves(random).flat_map(|v| v.to_f32().to_le_bytes()).collect(),
        WeightType::F16 => halves(random).flat_map(half::f16::to_le_bytes).collect(),
        WeightType::BF16 => {
            floats(elements, random).flat_map(|v| half::bf16::from_f32(v).to_le_bytes()).collect()
        }
        _ => blocks(weight_type, elements, random),
    }
}

pub(crate) fn dequantised(weight_type: WeightType, bytes: &[u8], elements: usize) -> Vec<f32> {
    let mut out = vec![0.0; elements];
    weight_type.dequantise(bytes, &mut out);
    out
}

fn normalised(x: &[f32]) -> Vec<f64> {
    let squares: f64 = x.iter().map(|&v| f64::from(v).powi(2)).sum();
    let factor = 1.0 / (squares / x.len() as f64 + EPS).sqrt();
    x.iter().map(|&v| f64::from(v) * factor).collect()
}

/// ||a - b|| / ||b||
pub(crate) fn distance(a: &[f32], b: &[f64]) -> f64 {
    let difference: f64 = a.iter().zip(b).map(|(a, b)| (f64::from(*a) - b).powi(2)).sum();
    (difference / b.iter().map(|b| b * b).sum::<f64>()).sqrt()
}

pub(crate) fn limits() -> StepLimits {
    let shape = HeadShape { query_heads: 2, kv_heads: 1, head_dim: 64, scale: 0.125 };
    StepLimits { rows: ROWS_MAX, sampled: ROWS_MAX, positions: 512, block_size: 16, shape }
}

pub(crate) struct Case {
    pub(crate) weight_type: WeightType,
    pub(crate) outputs: usize,
    pub(crate) columns: usize,
    pub(crate) rows: usize,
    pub(crate) is_prompt: bool,
}

/// What a case multiplies.
struct Factors {
    table: Vec<u8>,
    /// Different ones, so that a swap shows.
    gate: Vec<u8>,
    up: Vec<u8>,
    /// Of half as many outputs.
    short: Vec<u8>,
    /// Of all three, in the order gate, short, up.
    bias: Vec<f32>,
    /// Of a gated product's rows, f16.
    down: Vec<u8>,
}

impl Factors {
    fn new(&Case { weight_type, outputs, columns, rows, .. }: &Case) -> Self {
        let mut random = Random(columns as u64 * 31 + outputs as u64);
        Factors {
            table: floats(rows * columns, &mut random).flat_map(f32::to_le_bytes).collect(),
            gate: weights(weight_type, outputs * columns, &mut random),
            up: weights(weight_type, outputs * columns, &mut random),
            short: weights(weight_type, outputs / 2 * columns, &mut random),
            bias: (0..sums_width(outputs)).map(|_| random.float()).collect(),
            down: weights(WeightType::F16, outputs * columns, &mut random),
        }
    }
}

/// Of gate, short and up side by side.
const fn sums_width(outputs: usize) -> usize {
    2 * outputs + outputs / 2
}

/// What the device made of them.
struct Found {
    /// Products of gate, short and up, with a bias each.
    sums: CudaRows,
    /// The rows themselves and the products of `down` with the gated ones.
    hidden: CudaRows,
    /// Products of gate, as a head.
    logits: CudaRows,
    best: Vec<u32>,
}

fn run(case: &Case, factors: &Factors, cuda: &mut Cuda) -> Found {
    let &Case { weight_type, outputs, columns, rows, is_prompt } = case;
    let embedding = cuda.load_table(WeightType::F32, [rows, columns], &factors.table).unwrap();
    let mut load = |rows, bytes: &[u8]| cuda.load_matrix(weight_type, [rows, columns], bytes).unwrap();
    let (gate, up) = (load(outputs, &factors.gate), load(outputs, &factors.up));
    let short = load(outputs / 2, &factors.short);
    let down = cuda.load_matrix(WeightType::F16, [columns, outputs], &factors.down).unwrap();
    let head = cuda.load_table(weight_type, [outputs, columns], &factors.gate).unwrap();
    assert!(Cuda::is_pair(&gate, &up));
    let ones = cuda.load_vector(&vec![1.0; columns]).unwrap();
    let bias = cuda.load_vector(&factors.bias).unwrap();
    cuda.reserve(&limits()).unwrap();
    let hidden = cuda.allocate_rows(ROWS_MAX, columns, RowsUse::Residual).unwrap();
    let sums = cuda.allocate_rows(ROWS_MAX, sums_width(outputs), RowsUse::Sums).unwrap();
    let logits = cuda.allocate_rows(ROWS_MAX, outputs, RowsUse::Sums).unwrap();
    let gated = cuda.allocate_rows(ROWS_MAX, outputs, RowsUse::Factors).unwrap();

    let tokens: Vec<u32> = (0..rows as u32).collect();
    let places: Vec<RowPlace> =
        (0..rows as u32).map(|position| RowPlace { sequence: 0, position, is_prompt }).collect();
    let blocks: Vec<u32> = (0..512 / 16).collect();
    let view = StepView { tokens: &tokens, places: &places, block_tables: &[&blocks], sampled: &tokens };
    assert_eq!(cuda.begin(&view).unwrap(), Work::Queue);
    cuda.embed(&embedding, &hidden);
    let input = NormInput { x: &hidden, weight: &ones, eps: EPS as f32 };
    cuda.linear(&input, &Linear { parts: &[&gate, &short, &up], bias: Some(&bias) }, &sums);
    cuda.gated_linear(&input, [&gate, &up], Activation::Silu, &gated);
    cuda.logits(&input, &head, &logits);
    cuda.linear_add(&gated, &Linear { parts: &[&down], bias: None }, &hidden);
    assert_eq!(cuda.end(), Ended::UnderWay);
    let best = cuda.finish().unwrap().to_vec();
    Found { sums, hidden, logits, best }
}

/// What becomes of a step of `count` generated rows whose last ones are sampled, the second time that it is begun.
pub(crate) fn begun_again(cuda: &mut Cuda, count: u32, sampled: u32) -> Work {
    const SHAPE: [usize; 2] = [64, 64];
    let mut random = Random(7);
    let bytes = weights(WeightType::F16, SHAPE[0] * SHAPE[1], &mut random);
    let table = cuda.load_table(WeightType::F16, SHAPE, &bytes).unwrap();
    let ones = cuda.load_vector(&[1.0; SHAPE[1]]).unwrap();
    cuda.reserve(&limits()).unwrap();
    let hidden = cuda.allocate_rows(ROWS_MAX, SHAPE[1], RowsUse::Residual).unwrap();
    let logits = cuda.allocate_rows(ROWS_MAX, SHAPE[0], RowsUse::Sums).unwrap();
    let tokens: Vec<u32> = (0..count).collect();
    let places: Vec<RowPlace> =
        tokens.iter().map(|&position| RowPlace { sequence: 0, position, is_prompt: false }).collect();
    let blocks: Vec<u32> = (0..512 / 16).collect();
    let sampled = &tokens[(count - sampled) as usize..];
    let view = StepView { tokens: &tokens, places: &places, block_tables: &[&blocks], sampled };
    assert_eq!(cuda.begin(&view).unwrap(), Work::Queue);
    cuda.embed(&table, &hidden);
    cuda.logits(&NormInput { x: &hidden, weight: &ones, eps: EPS as f32 }, &table, &logits);
    assert_eq!(cuda.end(), Ended::UnderWay);
    assert_eq!(cuda.finish().unwrap().len(), sampled.len());
    let work = cuda.begin(&view).unwrap();
    if work == Work::Queue {
        assert_eq!(cuda.end(), Ended::UnderWay);
    }
    cuda.finish().unwrap();
    work
}

/// Rows of a table, normalised, times matrices; each row's sums, by the kernels of products, of gated products and of
/// logits.
pub(crate) fn check(case: &Case, cuda: &mut Cuda, worst: f64) {
    let &Case { weight_type, outputs, columns, rows, is_prompt } = case;
    let factors = Factors::new(case);
    let found = run(case, &factors, cuda);
    let table = dequantised(WeightType::F16, &half_rounded(&factors.table), rows * columns);
    let [gate, short, up] = [(&factors.gate, outputs), (&factors.short, outputs / 2), (&factors.up, outputs)]
        .map(|(bytes, rows)| dequantised(weight_type, bytes, rows * columns));
    let down = dequantised(WeightType::F16, &factors.down, outputs * columns);
    for row in 0..rows {
        let x = &table[row * columns..][..columns];
        let [gate, short, up] = [&gate, &short, &up].map(|w| multiplied(w, &normalised(x)));
        let name = format!("{weight_type} {outputs}x{columns}, row {row} of {rows}, prompt {is_prompt}");

        let sums = gate.iter().chain(&short).chain(&up).zip(&factors.bias);
        let sums: Vec<f64> = sums.map(|(sum, bias)| sum + f64::from(*bias)).collect();
        let error = distance(&read(cuda, &found.sums, row), &sums);
        assert!(error < worst, "{name}: {error}");

        let gated: Vec<f64> = gate.iter().zip(&up).map(|(v, up)| v / (1.0 + (-v).exp()) * up).collect();
        let added: Vec<f32> =
            read(cuda, &found.hidden, row).iter().zip(x).map(|(after, before)| after - before).collect();
        let error = distance(&added, &multiplied(&down, &gated));
        assert!(error < 4.0 * worst, "{name}: gated {error}");

        let logits = read(cuda, &found.logits, row);
        assert!(distance(&logits, &gate) < 2e-5, "{name}: logits {}", distance(&logits, &gate));
        let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        assert_eq!(found.best[row] as usize, logits.iter().position(|v| *v == largest).unwrap(), "{name}");
    }
}

/// Each of the rows of `w` times `x`.
pub(crate) fn multiplied(w: &[f32], x: &[f64]) -> Vec<f64> {
    w.chunks_exact(x.len()).map(|w| w.iter().zip(x).map(|(w, x)| f64::from(*w) * x).sum()).collect()
}

/// The table is F32, which the device keeps as f16 times a power of two.
fn half_rounded(table: &[u8]) -> Vec<u8> {
    let floats: Vec<f32> = table.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
    floats.into_iter().flat_map(|v| half::f16::from_f32(v).to_le_bytes()).collect()
}

pub(crate) fn read(cuda: &Cuda, rows: &CudaRows, row: usize) -> Vec<f32> {
    let mut out = vec![0.0; rows.width()];
    cuda.read_row(rows, row, &mut out).unwrap();
    out
}
