//! Rates of what a step of SmolLM2-135M computes beside products and attention (`linear_rates`, `attention_rates`): for 1
//! and 16 generated rows and a prompt of 512, microseconds a call, what it must read and write, and how long a plain copy
//! of as many bytes takes in its place (`roof`). Then the same of all calls of a step.
//! `cargo run --release -p ostro-kernels --example row_rates [ISA]`.
//! Each is the best of several runs, taken in turn: on a shared machine the others say little. Data lies where the copy's
//! does: in the nearest cache that has room, as between two operations of a step, but for the rows of the vocabulary.
//!
//! Copies bind what moves bytes. Exponentials and divisions bind the gate, which has no share of a copy; finding the largest,
//! rounding and summing up bind digits as well, whose share shows how far that is from a copy.

#[path = "../measure/matrices.rs"]
mod matrices;
mod ops;
mod prepare;
mod roof;
#[path = "../measure/turns.rs"]
mod turns;

use ostro_kernels::cpu::ops::Cpu;
use roof::Roof;
use turns::in_turn;

const LAYERS: usize = 30;
const HIDDEN: usize = 576;
const GATED: usize = 1536;
const VOCABULARY: usize = 49152;

/// Runs of each job.
const TIMES: usize = 25;
/// That a run repeats a job for: far beyond what reading the clock takes.
const RUN_SECONDS: f64 = 2e-4;

fn main() {
    let isa = turns::isa();
    for threads in turns::thread_counts() {
        println!("{isa}, {threads} threads");
        let mut cpu = Cpu::new(isa, threads);
        ops::regions(&mut cpu);
        println!(
            "  rows  kernel                         us a call  KB read  written   GB/s  copy's share  us a step"
        );
        let table = matrices::matrix(&mut cpu, ops::TABLE_TYPE, VOCABULARY, HIDDEN);
        for rows in [1, 16, 512] {
            let step = [
                ops::embed(&mut cpu, &table, rows),
                prepare::products(&mut cpu, rows),
                ops::rotary_and_store(&mut cpu, rows),
                ops::gate(&mut cpu, rows),
            ];
            println!("  {rows:>4}  all of a step {:>63.1}", step.iter().sum::<f64>() * 1e6);
            ops::head_norm(&mut cpu, rows);
        }
    }
}

/// A kernel's call.
struct Call {
    name: &'static str,
    rows: usize,
    /// Bytes.
    read: usize,
    written: usize,
    /// In a step; none if SmolLM2's has no such call.
    in_step: usize,
}

impl Call {
    /// Measures and prints; seconds of a step.
    fn rate(&self, cpu: &mut Cpu, roof: Roof, mut kernel: impl FnMut(&mut Cpu)) -> f64 {
        let times = repetitions(cpu, &mut kernel);
        let mut state = (cpu, roof);
        let seconds = in_turn(
            TIMES,
            &mut state,
            [
                &mut |(cpu, _)| (0..times).for_each(|_| kernel(cpu)),
                &mut |(cpu, roof)| (0..times).for_each(|_| roof.copy_shared(cpu)),
                &mut |(cpu, roof)| (0..times).for_each(|_| roof.copy_alone(cpu)),
            ],
        );
        let [kernel, shared, alone] = seconds.map(|seconds| seconds[0] / times as f64);
        self.print(kernel, Some(shared.min(alone)))
    }

    /// As `rate`, where arithmetic binds.
    fn time(&self, cpu: &mut Cpu, mut kernel: impl FnMut(&mut Cpu)) -> f64 {
        let times = repetitions(cpu, &mut kernel);
        let [seconds] = in_turn(TIMES, cpu, [&mut |cpu| (0..times).for_each(|_| kernel(cpu))]);
        self.print(seconds[0] / times as f64, None)
    }

    fn print(&self, seconds: f64, copy: Option<f64>) -> f64 {
        let Self { name, rows, read, written, in_step } = *self;
        let share = copy.map_or(String::from("-"), |copy| format!("{:.0} %", copy / seconds * 100.0));
        let step = seconds * in_step as f64;
        let of_step = if in_step > 0 { format!("{:.1}", step * 1e6) } else { String::from("-") };
        println!(
            "  {rows:>4}  {name:<30} {:>9.2} {:>8.1} {:>8.1} {:>6.1} {share:>13} {of_step:>10}",
            seconds * 1e6,
            read as f64 / 1e3,
            written as f64 / 1e3,
            (read + written) as f64 / seconds / 1e9,
        );
        step
    }
}

/// Of a job in a run.
fn repetitions(cpu: &mut Cpu, job: &mut dyn FnMut(&mut Cpu)) -> usize {
    let [seconds] = in_turn(3, cpu, [job]);
    ((RUN_SECONDS / seconds[0]) as usize).clamp(1, 10_000)
}
