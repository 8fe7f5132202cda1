//! Products of prompt rows on Hopper (kernels/cuda/wide.cu). Block-wise matrices are unpacked for them first.

use super::super::args::{Part, UnpackArgs, WideArgs};
use super::super::buffer::Buffer;
use super::super::device::{CudaError, Device, Grid};
use super::super::matrix::{CudaMatrix, scale_up};
use super::super::rows::CudaRows;
use super::super::tensor_map::TensorMap;
use super::linear::{Activation, Epilogue, Linear};
use super::unpacked::{RUN, unpacked_bytes_of, unpacked_stride};
use super::{Cuda, StepState};

const TILE_TOKENS: usize = 128;
const STAGES: usize = 4;
/// Rows of weights of a tile of the gated kernel, of each matrix.
const GATED_ROWS: usize = 128;

/// Shared memory of a kernel whose tiles have so many outputs.
fn shared_bytes(width: usize) -> usize {
    STAGES * ((TILE_TOKENS + width) * RUN * 2 + 16)
}

pub(super) fn prepare(device: &mut Device) -> Result<(), CudaError> {
    device.prepare("pack", "unpack_rows")?;
    for (kernel, width) in [("wide_128", 128), ("wide_256", 256), ("wide_gated", 256)] {
        device.prepare("wide", kernel)?;
        device.allow_shared(kernel, shared_bytes(width))?;
    }
    Ok(())
}

/// Rows of f16 somewhere on the device.
#[derive(Clone, Copy)]
struct DenseRows {
    map: TensorMap,
    scale: f32,
}

impl Cuda {
    pub(super) fn multiply_wide(
        &mut self,
        x: &CudaRows,
        linear: &Linear<'_>,
        out: &CudaRows,
        epilogue: Epilogue,
    ) {
        self.queue(|device, state| {
            if state.current.counts.wide == 0 {
                return Ok(());
            }
            let (mut rest, mut out_first) = (linear.parts, 0);
            // One launch for as many as are unpacked together.
            while !rest.is_empty() {
                let fitting = state.room.fitting(rest.iter().map(|matrix| unpacked_bytes_of(matrix)));
                let (parts, others) = rest.split_at(fitting.max(1));
                let args = WideArgs {
                    out: out.address(),
                    out_stride: out.width as i32,
                    bias: linear.bias.map_or(0, Buffer::address),
                    add: epilogue as i32,
                    ..arguments(state, x, parts[0])
                };
                multiply_parts(device, state, (parts, out_first), (x, args))?;
                out_first += parts.iter().map(|matrix| matrix.rows).sum::<usize>();
                rest = others;
            }
            Ok(())
        });
    }

    pub(super) fn gate_wide(
        &mut self,
        x: &CudaRows,
        [gate, up]: [&CudaMatrix; 2],
        activation: Activation,
        out: &CudaRows,
    ) {
        self.queue(|device, state| {
            if state.current.counts.wide == 0 {
                return Ok(());
            }
            let rows = unpack_all(device, state, &[gate, up])?;
            let mut args = arguments(state, x, gate);
            for (index, (matrix, rows)) in [gate, up].into_iter().zip(rows).enumerate() {
                args.weights[index] = rows.map;
                args.parts[index] = part(matrix, rows, x, 0, 0);
            }
            let halves = out.halves();
            let args = WideArgs {
                gated: halves.wide,
                gated_scale: halves.scale,
                gated_stride: halves.stride,
                part_count: 2,
                tiles: gate.rows.div_ceil(GATED_ROWS) as i32,
                activation: activation as i32,
                ..args
            };
            launch(device, state, ("wide_gated", 256), &args)
        });
    }
}

/// Matrices that are unpacked together; the first one's outputs begin at `out_first`.
fn multiply_parts(
    device: &Device,
    state: &StepState,
    (parts, mut out_first): (&[&CudaMatrix], usize),
    (x, mut args): (&CudaRows, WideArgs),
) -> Result<(), CudaError> {
    let width = width(device, state, parts.iter().map(|matrix| matrix.rows));
    let rows = unpack_all(device, state, parts)?;
    let mut tiles = 0;
    for (index, (matrix, rows)) in parts.iter().zip(rows).enumerate() {
        args.weights[index] = rows.map;
        args.parts[index] = part(matrix, rows, x, tiles, out_first);
        tiles += matrix.rows.div_ceil(width);
        out_first += matrix.rows;
    }
    let args = WideArgs { part_count: parts.len() as i32, tiles: tiles as i32, ..args };
    let kernel = if width == 128 { "wide_128" } else { "wide_256" };
    launch(device, state, (kernel, width), &args)
}

/// Outputs of a tile: more are fewer bytes a product, fewer keep all processors busy.
fn width(device: &Device, state: &StepState, rows: impl Iterator<Item = usize> + Clone) -> usize {
    let token_tiles = (state.current.counts.wide as usize).div_ceil(TILE_TOKENS);
    let waves = |width: usize| {
        let tiles: usize = rows.clone().map(|rows| rows.div_ceil(width)).sum();
        (tiles * token_tiles).div_ceil(device.processors)
    };
    if waves(128) * 110 < waves(256) * 200 { 128 } else { 256 }
}

/// The matrices as rows of f16, unpacked one after another where they are block-wise. They are two, or as many as fit.
fn unpack_all(
    device: &Device,
    state: &StepState,
    matrices: &[&CudaMatrix],
) -> Result<[DenseRows; 3], CudaError> {
    let mut rows = [DenseRows { map: TensorMap::default(), scale: 1.0 }; 3];
    let mut at = 0;
    for (to, matrix) in rows.iter_mut().zip(matrices) {
        if let Some(map) = matrix.map {
            *to = DenseRows { map, scale: matrix.scale };
            continue;
        }
        *to = unpack(device, matrix, state.unpacked.address() + at as u64)?;
        at += unpacked_bytes_of(matrix);
        // A matrix makes room for two like it when it is loaded (`Cuda::load_matrix`).
        debug_assert!(at <= state.room.bytes(), "{at} bytes in {:?}", state.room);
    }
    Ok(rows)
}

fn unpack(device: &Device, matrix: &CudaMatrix, address: u64) -> Result<DenseRows, CudaError> {
    let stride = unpacked_stride(matrix.columns);
    let up = scale_up(matrix.largest);
    let args = UnpackArgs {
        data: matrix.data.address(),
        scales: matrix.scales.address(),
        to: address,
        scale: up,
        format: matrix.format as i32,
        rows: matrix.rows as i32,
        columns: matrix.columns as i32,
        stride: stride as i32,
        offset: matrix.offset,
    };
    device.launch(
        "unpack_rows",
        Grid { blocks: (matrix.rows, 1, 1), threads: 256, shared_bytes: 0 },
        &args,
    )?;
    Ok(DenseRows { map: TensorMap::new(address, matrix.rows, stride)?, scale: 1.0 / up })
}

fn part(matrix: &CudaMatrix, rows: DenseRows, x: &CudaRows, tile_first: usize, out_first: usize) -> Part {
    Part {
        data: 0,
        scales: 0,
        scale: rows.scale / x.halves().scale,
        rows: matrix.rows as i32,
        tile_first: tile_first as i32,
        out_first: out_first as i32,
    }
}

fn arguments(state: &StepState, x: &CudaRows, matrix: &CudaMatrix) -> WideArgs {
    WideArgs {
        x: x.map(),
        weights: [TensorMap::default(); 3],
        parts: [Part::default(); 3],
        counts: state.current.addresses.counts,
        rows: state.current.addresses.wide,
        out: 0,
        bias: 0,
        gated: 0,
        gated_scale: 1.0,
        gated_stride: 0,
        part_count: 1,
        runs: matrix.columns.div_ceil(RUN) as i32,
        tiles: 0,
        out_stride: 0,
        add: 0,
        activation: 0,
    }
}

/// One block a processor; each takes every so-manyth tile.
fn launch(
    device: &Device,
    state: &StepState,
    (kernel, width): (&'static str, usize),
    args: &WideArgs,
) -> Result<(), CudaError> {
    let token_tiles = (state.current.counts.wide as usize).div_ceil(TILE_TOKENS);
    let blocks = (args.tiles as usize * token_tiles).min(device.processors);
    device.launch(
        kernel,
        Grid { blocks: (blocks, 1, 1), threads: 384, shared_bytes: shared_bytes(width) },
        args,
    )
}
