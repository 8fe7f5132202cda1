//! Products with weight matrices.

use super::super::args::{Counted, Halves, LinearArgs, Part};
use super::super::buffer::Buffer;
use super::super::device::{CudaError, Device, Grid};
use super::super::matrix::{CudaMatrix, Format};
use super::super::rows::CudaRows;
use super::super::table::CudaTable;
use super::rows::NormInput;
use super::{Cuda, StepState};

const TILE_ROWS: usize = 16;

/// Matrices with the same input, their outputs side by side; at most three.
#[derive(Clone, Copy, Debug)]
pub struct Linear<'a> {
    pub parts: &'a [&'a CudaMatrix],
    pub bias: Option<&'a Buffer>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Activation {
    Silu = 0,
    Gelu = 1,
    GeluTanh = 2,
    Relu = 3,
}

/// What becomes of sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Epilogue {
    Store = 0,
    Add = 1,
}

/// Names of a format's kernels, by the rows they multiply at once.
struct Kernels {
    module: &'static str,
    linear: [&'static str; 4],
    gated: [&'static str; 4],
}

macro_rules! kernels {
    ($module:literal, $format:literal) => {
        Kernels {
            module: $module,
            linear: [
                concat!("linear_", $format, "_1"),
                concat!("linear_", $format, "_2"),
                concat!("linear_", $format, "_4"),
                concat!("linear_", $format, "_8"),
            ],
            gated: [
                concat!("gated_", $format, "_1"),
                concat!("gated_", $format, "_2"),
                concat!("gated_", $format, "_4"),
                concat!("gated_", $format, "_8"),
            ],
        }
    };
}

fn kernels(format: Format) -> Kernels {
    match format {
        Format::Dense => kernels!("linear_dense", "DENSE"),
        Format::Q4D => kernels!("linear_q4_d", "Q4_D"),
        Format::Q4Dm => kernels!("linear_q4_dm", "Q4_DM"),
        Format::Q8D => kernels!("linear_q8_d", "Q8_D"),
        Format::Q8Dm => kernels!("linear_q8_dm", "Q8_DM"),
        Format::Q4Fm => kernels!("linear_q4_fm", "Q4_FM"),
        Format::Q8Fm => kernels!("linear_q8_fm", "Q8_FM"),
        Format::Q4Fm16 => kernels!("linear_q4_fm16", "Q4_FM16"),
        Format::Q8Fm16 => kernels!("linear_q8_fm16", "Q8_FM16"),
    }
}

/// Shared memory for what eight warps have under way (kernels/cuda/linear.cu).
const fn ring_bytes(rows: usize, tiles: usize) -> usize {
    8 * if rows <= 8 && tiles == 1 { 8192 } else { 12_288 }
}

pub(super) fn prepare(device: &mut Device, format: Format) -> Result<(), CudaError> {
    let kernels = kernels(format);
    kernels.linear.into_iter().chain(kernels.gated).try_for_each(|kernel| {
        device.prepare(kernels.module, kernel)?;
        device.allow_shared(kernel, ring_bytes(usize::MAX, 1))
    })
}

impl Cuda {
    /// Of normalised rows.
    pub fn linear(&mut self, input: &NormInput<'_>, linear: &Linear<'_>, out: &CudaRows) {
        let x = self.norm(input, Counted::Step);
        self.multiply(x, linear, out, Epilogue::Store);
        self.multiply_wide(input.x, linear, out, Epilogue::Store);
    }

    pub fn linear_add(&mut self, x: &CudaRows, linear: &Linear<'_>, out: &CudaRows) {
        self.multiply(x.halves(), linear, out, Epilogue::Add);
        self.multiply_wide(x, linear, out, Epilogue::Add);
    }

    /// `activation(gate x) * (up x)`, as halves. The matrices have the same shape and format.
    pub fn gated_linear(
        &mut self,
        input: &NormInput<'_>,
        [gate, up]: [&CudaMatrix; 2],
        activation: Activation,
        out: &CudaRows,
    ) {
        let x = self.norm(input, Counted::Step);
        self.queue(|device, state| {
            let parts = [part(gate, &x, 0, 0), part(up, &x, 0, 0), Part::default()];
            let args = LinearArgs {
                gated: out.halves(),
                activation: activation as i32,
                part_count: 2,
                ..arguments(state, x, parts, gate)
            };
            let tiles = gate.rows.div_ceil(TILE_ROWS);
            let (kernel, token_blocks) = kernel_for(&kernels(gate.format).gated, state.current.narrow_rows());
            let grid = Grid {
                blocks: (tiles, token_blocks, 1),
                threads: 256,
                shared_bytes: ring_bytes(state.current.narrow_rows(), 2),
            };
            device.launch_early(kernel, grid, &args)
        });
        self.gate_wide(input.x, [gate, up], activation, out);
    }

    /// Logits of the sampled rows, and the best of each.
    pub fn logits(&mut self, input: &NormInput<'_>, head: &CudaTable, out: &CudaRows) {
        let head = head.matrix();
        let x = self.norm(input, Counted::Sampled);
        self.queue(|device, state| {
            let parts = [part(head, &x, 0, 0), Part::default(), Part::default()];
            let args = LinearArgs {
                out: out.address(),
                out_stride: out.width as i32,
                rows: 0,
                counted: Counted::Sampled,
                ..arguments(state, x, parts, head)
            };
            launch(device, head.format, state.current.sampled_rows(), head.rows.div_ceil(TILE_ROWS), &args)
        });
        self.best(out);
    }

    fn multiply(&mut self, x: Halves, linear: &Linear<'_>, out: &CudaRows, epilogue: Epilogue) {
        let mut out_first = 0;
        let mut rest = linear.parts;
        // One launch for neighbours of one format.
        while let Some(first) = rest.first() {
            let same = rest
                .iter()
                .take_while(|matrix| matrix.format == first.format && matrix.offset == first.offset);
            let (run, others) = rest.split_at(same.count());
            let run_first = out_first;
            out_first += run.iter().map(|matrix| matrix.rows).sum::<usize>();
            rest = others;
            self.queue(|device, state| {
                let mut parts = [Part::default(); 3];
                let (mut tiles, mut out_at) = (0, run_first);
                for (to, matrix) in parts.iter_mut().zip(run) {
                    *to = part(matrix, &x, tiles, out_at);
                    tiles += matrix.rows.div_ceil(TILE_ROWS);
                    out_at += matrix.rows;
                }
                let args = LinearArgs {
                    out: out.address(),
                    out_stride: out.width as i32,
                    bias: linear.bias.map_or(0, Buffer::address),
                    add: epilogue as i32,
                    part_count: run.len() as i32,
                    ..arguments(state, x, parts, first)
                };
                launch(device, first.format, state.current.narrow_rows(), tiles, &args)
            });
        }
    }
}

fn part(matrix: &CudaMatrix, x: &Halves, tile_first: usize, out_first: usize) -> Part {
    Part {
        data: matrix.data.address(),
        scales: matrix.scales.address(),
        scale: matrix.scale / x.scale,
        rows: matrix.rows as i32,
        tile_first: tile_first as i32,
        out_first: out_first as i32,
    }
}

fn arguments(state: &StepState, x: Halves, parts: [Part; 3], matrix: &CudaMatrix) -> LinearArgs {
    LinearArgs {
        parts,
        counts: state.current.addresses.counts,
        x,
        rows: state.current.addresses.narrow,
        out: 0,
        bias: 0,
        gated: Halves::default(),
        part_count: 1,
        groups: matrix.groups() as i32,
        stride: matrix.stride as i32,
        offset: matrix.offset,
        out_stride: 0,
        add: 0,
        activation: 0,
        counted: Counted::Step,
    }
}

fn launch(
    device: &Device,
    format: Format,
    rows: usize,
    tiles: usize,
    args: &LinearArgs,
) -> Result<(), CudaError> {
    if rows == 0 {
        return Ok(());
    }
    let (kernel, token_blocks) = kernel_for(&kernels(format).linear, rows);
    // Kernels of many rows take two tiles a block.
    let tiles = if rows > 16 { tiles.div_ceil(2) } else { tiles };
    let grid = Grid { blocks: (tiles, token_blocks, 1), threads: 256, shared_bytes: ring_bytes(rows, 1) };
    device.launch_early(kernel, grid, args)
}

/// The kernel for so many rows, and how often it covers them.
fn kernel_for(names: &[&'static str; 4], rows: usize) -> (&'static str, usize) {
    match rows {
        0 => (names[0], 0),
        1..=8 => (names[0], 1),
        9..=16 => (names[1], 1),
        17..=32 => (names[2], 1),
        _ => (names[3], rows.div_ceil(64)),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::super::code::{MODULES, source};
    use super::super::attention::prompt_shared_bytes;
    use super::*;

    /// Of each kernel, as its PTX declares it: `.shared .align 4 .b8 name[4352];` behind `.entry kernel(`.
    fn static_bytes(ptx: &'static str) -> BTreeMap<&'static str, usize> {
        let (mut bytes, mut kernel) = (BTreeMap::new(), "");
        for line in ptx.lines() {
            if let Some((_, entry)) = line.split_once(".entry ") {
                kernel = entry.split('(').next().unwrap();
                bytes.insert(kernel, 0);
            }
            if line.trim_start().starts_with(".shared ") {
                let size = line.split_once(".b8 ").unwrap().1.split(['[', ']']).nth(1).unwrap();
                *bytes.get_mut(kernel).unwrap() += size.parse::<usize>().unwrap();
            }
        }
        bytes
    }

    fn dynamic_bytes(module: &str, kernel: &str) -> usize {
        match module {
            "prompt" => prompt_shared_bytes(kernel["prompt_".len()..].parse().unwrap()),
            _ if module.starts_with("linear_") => ring_bytes(usize::MAX, 1),
            _ => 0,
        }
    }

    /// Compute capability 8.6, 8.9 and 12.x give a block the least of all since 8.0.
    const SHARED_BYTES: usize = 99 << 10;

    /// Of all kernels but wide.rs': those run on Hopper only, which has more.
    #[test]
    fn kernels_fit_the_shared_memory_of_every_gpu() {
        let kernels = MODULES.iter().filter(|module| **module != "wide").flat_map(|module| {
            let sizes = static_bytes(source(module)).into_iter();
            sizes.map(move |(kernel, bytes)| (bytes + dynamic_bytes(module, kernel), kernel))
        });
        let all: Vec<(usize, &str)> = kernels.collect();
        assert!(all.len() > 80, "{all:?}");
        let (most, kernel) = all.into_iter().max().unwrap();
        assert!(most <= SHARED_BYTES, "{kernel}: {most}");
    }
}
