//! A panel times groups of 16 rows by a matrix unit: see `wide` for the contract.

use std::marker::PhantomData;
use std::mem::MaybeUninit;

use super::matrix_unit::MatrixUnit;
use super::wide::{GROUP_ROWS, Segments, TILE_BYTES};
use super::wide_panel::{ExpandFunction, Tile, WidePanel};
use crate::cpu::pack::PANEL_ROWS;
use crate::cpu::simd::{Kernel, LANES, Simd16};

/// What a call reads and writes.
#[derive(Clone, Copy)]
pub(crate) struct WideCall {
    pub(super) expand: ExpandFunction,
    pub(super) panel: *const u8,
    pub(super) columns: usize,
    /// Of the first row's group, as `digits::wide` lays them.
    pub(super) digits: *const i8,
    pub(super) scales: *const f32,
    pub(super) groups: usize,
    /// 32 results a row, for whole groups.
    pub(super) out: *mut f32,
}

/// The code of a tile.
///
/// # Safety
/// To call: the panel has 32 rows of `columns` weights of the type that `expand` is for, digits, scales and `out`
/// are there for the groups. The unit is configured.
pub(crate) type WideFunction = unsafe fn(&WideCall);

/// # Safety
/// As `WideFunction`; the processor has `S` and `U`, and the system lets this process use the unit.
pub(super) unsafe fn tile<S: Simd16, U: MatrixUnit>(call: &WideCall) {
    // SAFETY: the caller's promise.
    unsafe { S::call(WideTile::<U>(call, PhantomData)) }
}

struct WideTile<'a, U>(&'a WideCall, PhantomData<U>);

/// Sums of 16 rows and 16 outputs.
type Sums = [[i32; LANES]; GROUP_ROWS];

#[repr(C, align(64))]
struct Memory {
    panel: WidePanel,
    /// H and C of the first 16 outputs, then of the others.
    sums: [Sums; 4],
}

/// What a tile uses of the stack.
pub(super) const MEMORY_BYTES: usize = size_of::<Memory>();

// Whoever makes the tile keeps the promises of `tile`.
impl<U: MatrixUnit> Kernel for WideTile<'_, U> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd16>(self) {
        // SAFETY: see above; the instruction set is the caller's promise.
        unsafe {
            let call = self.0;
            let mut memory = MaybeUninit::<Memory>::uninit();
            let memory = memory.as_mut_ptr();
            let mut unit = U::registers();
            let segments = Segments::of(call.columns);
            for segment in 0..segments.count {
                (call.expand)(call.panel, segments.blocks_of(segment), &raw mut (*memory).panel);
                let steps = segments.steps_of(segment);
                for group in 0..call.groups {
                    let digits = call.digits.add((group * segments.steps + steps.start) * 2 * TILE_BYTES);
                    let tiles = (&raw const (*memory).panel.tiles).cast::<Tile>();
                    // A panel and a group's digits are more than the nearest cache: what was read last is still there.
                    match group % 2 {
                        0 => multiply(&mut unit, digits.cast(), tiles, 0..steps.len()),
                        _ => multiply(&mut unit, digits.cast(), tiles, (0..steps.len()).rev()),
                    }
                    unit.store_sums((&raw mut (*memory).sums).cast());
                    let scales = call.scales.add((group * segments.count + segment) * GROUP_ROWS);
                    let out = call.out.add(group * GROUP_ROWS * PANEL_ROWS);
                    add::<S>(memory, scales, out, segment == 0);
                }
            }
        }
    }
}

/// Sums in registers 0 to 3: of the first outputs H and C, then of the others. Those of C get two products a step: they are as
/// far apart as they can be, since a product waits for the one before of its register.
#[inline(always)]
unsafe fn multiply<U: MatrixUnit>(
    unit: &mut U,
    digits: *const u8,
    tiles: *const Tile,
    steps: impl Iterator<Item = usize>,
) {
    // SAFETY: the caller's promises.
    unsafe {
        unit.zero_sums();
        for step in steps {
            let (digits, tiles) = (digits.add(step * 2 * TILE_BYTES), tiles.add(step * 4));
            unit.load::<4>(digits);
            unit.load::<6>(tiles.add(1).cast());
            unit.dot::<1, 4, 6>();
            unit.load::<7>(tiles.add(3).cast());
            unit.dot::<3, 4, 7>();
            unit.load::<6>(tiles.cast());
            unit.dot::<0, 4, 6>();
            unit.load::<5>(digits.add(TILE_BYTES));
            unit.dot::<1, 5, 6>();
            unit.load::<7>(tiles.add(2).cast());
            unit.dot::<3, 5, 7>();
            unit.dot::<2, 4, 7>();
        }
    }
}

/// The float steps of a segment for a group.
#[inline(always)]
unsafe fn add<S: Simd16>(memory: *const Memory, scales: *const f32, out: *mut f32, is_first: bool) {
    // SAFETY: the caller's promises.
    unsafe {
        for half in 0..2 {
            let of_weights = S::load((&raw const (*memory).panel.scales[half]).cast());
            for row in 0..GROUP_ROWS {
                let high = S::load_i((&raw const (*memory).sums[2 * half][row]).cast());
                let cross = S::load_i((&raw const (*memory).sums[2 * half + 1][row]).cast());
                let whole = S::fma(S::to_f(high), S::splat(256.0), S::to_f(cross));
                let out = out.add(row * PANEL_ROWS + half * LANES);
                let y = if is_first { S::zero() } else { S::load(out) };
                S::store(out, S::fma(whole, S::mul(of_weights, S::splat(*scales.add(row))), y));
            }
        }
    }
}
