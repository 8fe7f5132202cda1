//! Products on a GPU are those of the dequantised weights: on the machine's own where OSTRO_REAL_GPU is set, else on the
//! emulated driver.
#![cfg(feature = "cuda")]
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, OnceLock};

use ostro_kernels::cpu::attention::{HeadShape, RowPlace};
use ostro_kernels::cpu::block::WeightType;
use ostro_kernels::cuda::{
    Activation, Cuda, CudaRows, Ended, Linear, NormInput, RowsUse, StepLimits, StepView, Work, gpus,
    matrix_bytes,
};

const ROWS_MAX: usize = 300;

/// `None`, with a reason printed, where there is neither a GPU nor an emulated one.
fn cuda() -> Option<Cuda> {
    static EMULATOR: OnceLock<Result<(), String>> = OnceLock::new();
    if std::env::var_os("OSTRO_REAL_GPU").is_none()
        && let Err(reason) = EMULATOR.get_or_init(load_emulator)
    {
        println!("skipped: no emulated GPU, {reason}");
        return None;
    }
    match gpus() {
        Ok(gpus) => Some(Cuda::new(gpus.usable.into_iter().next().unwrap()).unwrap()),
        Err(reason) => {
            println!("skipped: {reason}");
            None
        }
    }
}

fn load_emulator() -> Result<(), String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("cuda/emulator/build.sh");
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cuda-emulator");
    let built = Command::new("sh").arg(script).arg(&out).output().map_err(|error| error.to_string())?;
    if !built.status.success() {
        return Err(String::from_utf8_lossy(&built.stderr).into_owned());
    }
    // SAFETY: our own library; its initialisers do nothing.
    let library =
        unsafe { libloading::Library::new(out.join("libcuda.so.1")) }.map_err(|error| error.to_string())?;
    std::mem::forget(library);
    Ok(())
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as u32
    }

    /// -1 to 1.
    fn float(&mut self) -> f32 {
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

fn weights(weight_type: WeightType, elements: usize, random: &mut Random) -> Vec<u8> {
    let floats = |random: &mut Random| (0..elements).map(|_| 0.05 * random.float()).collect::<Vec<f32>>();
    match weight_type {
        WeightType::F32 => floats(random).into_iter().flat_map(f32::to_le_bytes).collect(),
        WeightType::F16 => {
            floats(random).into_iter().flat_map(|v| half::f16::from_f32(v).to_le_bytes()).collect()
        }
        WeightType::BF16 => {
            floats(random).into_iter().flat_map(|v| half::bf16::from_f32(v).to_le_bytes()).collect()
        }
        _ => blocks(weight_type, elements, random),
    }
}

fn dequantised(weight_type: WeightType, bytes: &[u8], elements: usize) -> Vec<f32> {
    let mut out = vec![0.0; elements];
    weight_type.dequantise(bytes, &mut out);
    out
}

fn normalised(x: &[f32], eps: f64) -> Vec<f64> {
    let squares: f64 = x.iter().map(|&v| f64::from(v).powi(2)).sum();
    let factor = 1.0 / (squares / x.len() as f64 + eps).sqrt();
    x.iter().map(|&v| f64::from(v) * factor).collect()
}

/// ||a - b|| / ||b||
fn distance(a: &[f32], b: &[f64]) -> f64 {
    let difference: f64 = a.iter().zip(b).map(|(a, b)| (f64::from(*a) - b).powi(2)).sum();
    (difference / b.iter().map(|b| b * b).sum::<f64>()).sqrt()
}

fn limits() -> StepLimits {
    let shape = HeadShape { query_heads: 2, kv_heads: 1, head_dim: 64, scale: 0.125 };
    StepLimits { rows: ROWS_MAX, sampled: ROWS_MAX, positions: 512, block_size: 16, shape }
}

struct Case {
    weight_type: WeightType,
    outputs: usize,
    columns: usize,
    rows: usize,
    is_prompt: bool,
}

/// Rows of a table, normalised, times a matrix; each row's sums, by the kernels of products and by those of logits.
fn check(case: &Case, cuda: &mut Cuda, worst: f64) {
    let &Case { weight_type, outputs, columns, rows, is_prompt } = case;
    let mut random = Random(columns as u64 * 31 + outputs as u64);
    let table = weights(WeightType::F32, rows * columns, &mut random);
    let bytes = weights(weight_type, outputs * columns, &mut random);
    let embedding = cuda.load_table(WeightType::F32, [rows, columns], &table).unwrap();
    let matrix = cuda.load_matrix(weight_type, [outputs, columns], &bytes).unwrap();
    let other = cuda.load_matrix(weight_type, [outputs, columns], &bytes).unwrap();
    let head = cuda.load_table(weight_type, [outputs, columns], &bytes).unwrap();
    assert!(Cuda::is_pair(&matrix, &other));
    let ones = cuda.load_vector(&vec![1.0; columns]).unwrap();
    cuda.reserve(&limits()).unwrap();
    let hidden = cuda.allocate_rows(ROWS_MAX, columns, RowsUse::Residual).unwrap();
    let sums = cuda.allocate_rows(ROWS_MAX, outputs * 2, RowsUse::Sums).unwrap();
    let logits = cuda.allocate_rows(ROWS_MAX, outputs, RowsUse::Sums).unwrap();
    let gated = cuda.allocate_rows(ROWS_MAX, outputs, RowsUse::Factors).unwrap();

    let tokens: Vec<u32> = (0..rows as u32).collect();
    let places: Vec<RowPlace> =
        (0..rows as u32).map(|position| RowPlace { sequence: 0, position, is_prompt }).collect();
    let blocks: Vec<u32> = (0..512 / 16).collect();
    let view = StepView { tokens: &tokens, places: &places, block_tables: &[&blocks], sampled: &tokens };
    assert_eq!(cuda.begin(&view).unwrap(), Work::Queue);
    cuda.embed(&embedding, &hidden);
    let input = NormInput { x: &hidden, weight: &ones, eps: 1e-5 };
    cuda.linear(&input, &Linear { parts: &[&matrix, &other], bias: None }, &sums);
    cuda.gated_linear(&input, [&matrix, &other], Activation::Silu, &gated);
    cuda.logits(&input, &head, &logits);
    assert_eq!(cuda.end(), Ended::UnderWay);
    let best = cuda.finish().unwrap().to_vec();

    let x = dequantised(WeightType::F16, &half_rounded(&table), rows * columns);
    let w = dequantised(weight_type, &bytes, outputs * columns);
    for row in 0..rows {
        let x = normalised(&x[row * columns..][..columns], 1e-5);
        let expected: Vec<f64> =
            w.chunks_exact(columns).map(|w| w.iter().zip(&x).map(|(w, x)| f64::from(*w) * x).sum()).collect();
        let name = format!("{weight_type} {outputs}x{columns}, row {row} of {rows}, prompt {is_prompt}");
        let found = read(cuda, &sums, row);
        let both = [distance(&found[..outputs], &expected), distance(&found[outputs..], &expected)];
        assert!(both.iter().all(|error| *error < worst), "{name}: {both:?}");
        let found = read(cuda, &logits, row);
        assert!(distance(&found, &expected) < 2e-5, "{name}: logits {}", distance(&found, &expected));
        let largest = found.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        assert_eq!(best[row] as usize, found.iter().position(|v| *v == largest).unwrap(), "{name}");
    }
}

/// The table is F32, which the device keeps as f16 times a power of two.
fn half_rounded(table: &[u8]) -> Vec<u8> {
    let floats: Vec<f32> = table.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
    floats.into_iter().flat_map(|v| half::f16::from_f32(v).to_le_bytes()).collect()
}

fn read(cuda: &Cuda, rows: &CudaRows, row: usize) -> Vec<f32> {
    let mut out = vec![0.0; rows.width()];
    cuda.read_row(rows, row, &mut out).unwrap();
    out
}

/// One device, used by one test at a time.
static TURN: Mutex<()> = Mutex::new(());

#[test]
fn products_are_those_of_the_dequantised_weights() {
    let _turn = TURN.lock();
    for weight_type in WeightType::ALL {
        let Some(mut cuda) = cuda() else { return };
        // f32 weights are rounded to f16.
        let worst = if weight_type == WeightType::F32 { 1e-3 } else { 2e-5 };
        let columns = if weight_type.block_elements() == 256 { 512 } else { 288 };
        for (rows, outputs) in [(1, 200), (9, 48), (70, 64)] {
            let case = Case { weight_type, outputs, columns, rows, is_prompt: false };
            match weight_type {
                WeightType::F32 => check_f32(&case, &mut cuda),
                _ => check(&case, &mut cuda, worst),
            }
        }
    }
}

/// As `check`, whose logits bound is that of exact weights, on weights that are exact.
fn check_f32(case: &Case, cuda: &mut Cuda) {
    check(&Case { weight_type: WeightType::F16, ..*case }, cuda, 2e-5);
}

/// On Hopper prompt rows have products of their own, of one half an activation and weight.
#[test]
fn prompt_products_are_near_those_of_the_dequantised_weights() {
    let _turn = TURN.lock();
    for weight_type in [WeightType::BF16, WeightType::F16, WeightType::Q4_1, WeightType::Q6_K] {
        let Some(mut cuda) = cuda() else { return };
        let worst = if cuda.has_wide_products() { 1e-3 } else { 2e-5 };
        let real = std::env::var_os("OSTRO_REAL_GPU").is_some();
        for (rows, outputs) in if real { vec![(1, 64), (130, 400), (300, 1024)] } else { vec![(70, 64)] } {
            check(&Case { weight_type, outputs, columns: 512, rows, is_prompt: true }, &mut cuda, worst);
        }
    }
}

#[test]
fn matrices_take_what_was_told() {
    let _turn = TURN.lock();
    let Some(mut cuda) = cuda() else { return };
    for weight_type in WeightType::ALL {
        for rows in [1, 70] {
            let shape = [rows, if weight_type.block_elements() == 256 { 512 } else { 288 }];
            let bytes = weights(weight_type, shape[0] * shape[1], &mut Random(rows as u64));
            let told = matrix_bytes(weight_type, shape);
            let before = cuda.memory().unwrap().0;
            let matrix = cuda.load_matrix(weight_type, shape, &bytes).unwrap();
            assert_eq!(matrix.bytes(), told, "{weight_type} {shape:?}");
            // A real GPU gives whole pages, and kernels take some.
            if std::env::var_os("OSTRO_REAL_GPU").is_none() {
                let taken = (before - cuda.memory().unwrap().0) as usize;
                assert!((told..told + 2 * 256).contains(&taken), "{weight_type} {shape:?}: {taken}, {told}");
            }
        }
    }
}

#[test]
fn steps_reserve_what_was_told() {
    let _turn = TURN.lock();
    let Some(mut cuda) = cuda() else { return };
    let bytes = weights(WeightType::Q4_1, 64 * 64, &mut Random(1));
    let _matrix = cuda.load_matrix(WeightType::Q4_1, [64, 64], &bytes).unwrap();
    let told = cuda.reserved_bytes(&limits(), [(WeightType::Q4_1, [64, 64])]) as u64;
    let before = cuda.memory().unwrap().0;
    cuda.reserve(&limits()).unwrap();
    let taken = before - cuda.memory().unwrap().0;
    // Pieces are rounded up; a real GPU gives whole pages, and kernels take some.
    let spare = if std::env::var_os("OSTRO_REAL_GPU").is_some() { 64 << 20 } else { 8 * 256 };
    assert!((told..told + spare).contains(&taken), "{taken} bytes were taken, {told} were told");
}
