//! Rates of the linear layers. For every weight type: GB/s of one row over a matrix beyond the caches,
//! beside a plain read of the same bytes, and GOPS (2 a multiplication) of 512 rows of a prompt, beside what the
//! products alone reach (`peak`), and beside AVX-512 without AMX. Then all products of steps of
//! SmolLM2-135M (Q4_1 layers, Q8_0 head), of generated rows and of prompts, and its head alone: all logits, and where the
//! largest are.
//! `cargo run --release -p ostro-kernels --example linear_rates [ISA]`.
//! Each is the best of several runs, taken in turn: on a shared machine the others say little.

mod logits;
#[path = "../measure/matrices.rs"]
mod matrices;
mod peak;
#[path = "../measure/turns.rs"]
mod turns;

use matrices::{activations, matrix};
use peak::products_peak;
use turns::{in_turn, touched};

use ostro_kernels::cpu::block::WeightType;
use ostro_kernels::cpu::isa::Isa;
use ostro_kernels::cpu::ops::Cpu;
use ostro_kernels::cpu::ops::linear::{
    Activation, GatedWeights, LinearInput, LinearWeights, Norm, Split, Store,
};
use ostro_kernels::cpu::pack::PackedMatrix;
use ostro_kernels::cpu::plain_read::plain_read;
use ostro_kernels::cpu::rows::Rows;

fn main() {
    let isa = turns::isa();
    for threads in turns::thread_counts() {
        println!("{isa}, {threads} threads");
        let peak = products_peak(isa, threads);
        println!("  products alone: {:.0} GOPS", peak / 1e9);
        println!("  type   1 row: GB/s  of read | 4 rows: of 1 row | 512 rows: GOPS  of peak  of avx512");
        for weight_type in WeightType::ALL {
            rates_of(&mut Cpu::new(isa, threads), weight_type, peak);
        }
        SmolLm2::new(isa, threads).rates(peak);
        logits::rates(&mut Cpu::new(isa, threads));
    }
}

fn best_in_turn<T, const N: usize>(
    times: usize,
    state: &mut T,
    jobs: [&mut dyn FnMut(&mut T); N],
) -> [f64; N] {
    in_turn(times, state, jobs).map(|seconds| seconds[0])
}

/// As rows of generated tokens, or of a prompt.
fn product(cpu: &mut Cpu, (x, is_prompt): (&Rows, bool), matrix: &PackedMatrix, out: &mut Rows) {
    let weights = LinearWeights { parts: &[matrix], bias: None };
    let rows: Vec<u32> = (0..x.rows() as u32).collect();
    let input = LinearInput { x, norm: None, split: split(&rows, is_prompt) };
    cpu.linear(input, weights, out, Store::Replace);
}

fn split(rows: &[u32], is_prompt: bool) -> Option<Split<'_>> {
    is_prompt.then_some(Split { generated: &[], prompt: rows })
}

fn rates_of(cpu: &mut Cpu, weight_type: WeightType, peak: f64) {
    const COLUMNS: usize = 2048;
    const MEGABYTES: usize = 48;
    let rows = MEGABYTES * 1_000_000 / weight_type.bytes_of(COLUMNS).expect("whole blocks") / 32 * 32;
    let large = matrix(cpu, weight_type, rows, COLUMNS);
    let same = touched(large.bytes());
    let isa = cpu.isa();
    let (x, mut out) = (activations(1, COLUMNS), Rows::new(1, rows));
    let [one, read] = best_in_turn(
        25,
        cpu,
        [&mut |cpu| product(cpu, (&x, false), &large, &mut out), &mut |cpu| {
            plain_read(isa, cpu.pool_mut(), &same);
        }],
    );
    let (x4, mut out4) = (activations(4, COLUMNS), Rows::new(4, rows));
    let [four] = best_in_turn(15, cpu, [&mut |cpu| product(cpu, (&x4, false), &large, &mut out4)]);
    const ROWS: usize = 512;
    let small = matrix(cpu, weight_type, 256, COLUMNS);
    let (x, mut out) = (activations(ROWS, COLUMNS), Rows::new(ROWS, 256));
    let mut vectors = Cpu::new(Isa::from_name("avx512").unwrap_or(isa), cpu.threads());
    let mut same_out = Rows::new(ROWS, 256);
    let [many, by_vectors] = best_in_turn(
        15,
        cpu,
        [&mut |cpu| product(cpu, (&x, true), &small, &mut out), &mut |_| {
            product(&mut vectors, (&x, true), &small, &mut same_out);
        }],
    );
    let operations = (2 * ROWS * 256 * COLUMNS) as f64;
    println!(
        "  {:<5} {:>12.1} {:>7.0}% | {:>15.2} | {:>14.0} {:>7.0}% {:>8.2}x",
        weight_type.name(),
        large.bytes() as f64 / one / 1e9,
        100.0 * read / one,
        four / one,
        operations / many / 1e9,
        100.0 * operations / many / peak,
        by_vectors / many,
    );
}

/// The matrices of SmolLM2-135M, with random weights.
struct SmolLm2 {
    cpu: Cpu,
    layers: Vec<Layer>,
    head: PackedMatrix,
    norm: Vec<f32>,
}

struct Layer {
    q: PackedMatrix,
    k: PackedMatrix,
    v: PackedMatrix,
    o: PackedMatrix,
    gate: PackedMatrix,
    up: PackedMatrix,
    down: PackedMatrix,
}

impl Layer {
    fn all(&self) -> [&PackedMatrix; 7] {
        [&self.q, &self.k, &self.v, &self.o, &self.gate, &self.up, &self.down]
    }
}

struct Buffers {
    hidden: Rows,
    qkv: Rows,
    attention: Rows,
    gated: Rows,
    logits: Rows,
}

const HIDDEN: usize = 576;
const VOCAB: usize = 49152;
const GATED: usize = 1536;

impl SmolLm2 {
    fn new(isa: Isa, threads: usize) -> Self {
        let mut cpu = Cpu::new(isa, threads);
        let layers = (0..30)
            .map(|_| {
                let mut m = |rows, columns| matrix(&mut cpu, WeightType::Q4_1, rows, columns);
                Layer {
                    q: m(HIDDEN, HIDDEN),
                    k: m(192, HIDDEN),
                    v: m(192, HIDDEN),
                    o: m(HIDDEN, HIDDEN),
                    gate: m(GATED, HIDDEN),
                    up: m(GATED, HIDDEN),
                    down: m(HIDDEN, GATED),
                }
            })
            .collect();
        let head = matrix(&mut cpu, WeightType::Q8_0, VOCAB, HIDDEN);
        Self { cpu, layers, head, norm: vec![1.0; HIDDEN] }
    }

    fn bytes(&self) -> usize {
        self.layers.iter().flat_map(Layer::all).map(PackedMatrix::bytes).sum::<usize>() + self.head.bytes()
    }

    /// Every product of a step; the head for the last row.
    fn step(&mut self, b: &mut Buffers, is_prompt: bool) {
        let rows: Vec<u32> = (0..b.hidden.rows() as u32).collect();
        let split = split(&rows, is_prompt);
        let norm = Some(Norm { weight: &self.norm, eps: 1e-5 });
        let cpu = &mut self.cpu;
        for layer in &self.layers {
            let parts = [&layer.q, &layer.k, &layer.v];
            let weights = LinearWeights { parts: &parts, bias: None };
            cpu.linear(LinearInput { x: &b.hidden, norm, split }, weights, &mut b.qkv, Store::Replace);
            let weights = LinearWeights { parts: &[&layer.o], bias: None };
            let input = LinearInput { x: &b.attention, norm: None, split };
            cpu.linear(input, weights, &mut b.hidden, Store::Accumulate);
            let weights = GatedWeights { gate: &layer.gate, up: &layer.up, activation: Activation::Silu };
            cpu.gated_linear(LinearInput { x: &b.hidden, norm, split }, weights, &mut b.gated);
            let weights = LinearWeights { parts: &[&layer.down], bias: None };
            let input = LinearInput { x: &b.gated, norm: None, split };
            cpu.linear(input, weights, &mut b.hidden, Store::Accumulate);
        }
        let last = [b.hidden.rows() as u32 - 1];
        let weights = LinearWeights { parts: &[&self.head], bias: None };
        cpu.linear_rows(LinearInput { x: &b.hidden, norm, split }, &last, weights, &mut b.logits);
    }

    fn rates(&mut self, peak: f64) {
        let same = touched(self.bytes());
        let decodes = [1, 2, 4, 8, 16, 32].map(|rows| (rows, false));
        for (rows, is_prompt) in decodes.into_iter().chain([1, 16, 64, 218, 512].map(|rows| (rows, true))) {
            let mut buffers = Buffers {
                hidden: activations(rows, HIDDEN),
                qkv: Rows::new(rows, HIDDEN + 384),
                attention: activations(rows, HIDDEN),
                gated: Rows::new(rows, GATED),
                logits: Rows::new(1, VOCAB),
            };
            let [time, read] = best_in_turn(
                21,
                self,
                [&mut |model| model.step(&mut buffers, is_prompt), &mut |model| {
                    plain_read(model.cpu.isa(), model.cpu.pool_mut(), &same);
                }],
            );
            let layers = self.layers.iter().flat_map(Layer::all).map(|m| m.rows() * m.columns());
            let operations = (2 * (layers.sum::<usize>() * rows + VOCAB * HIDDEN)) as f64;
            println!(
                "  SmolLM2-135M products, {rows:>3} {}: {:>7.3} ms, {:>6.0} tok/s, {:>3.0}% of read, {:>5.0} GOPS, {:>3.0}% of peak",
                if is_prompt { "rows of a prompt" } else { "generated rows" },
                time * 1e3,
                rows as f64 / time,
                100.0 * read / time,
                operations / time / 1e9,
                100.0 * operations / time / peak,
            );
        }
    }
}
