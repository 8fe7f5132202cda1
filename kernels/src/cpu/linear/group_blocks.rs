//! The products of half of a panel's outputs with the activations of many rows, for the columns that are
//! unpacked: exact sums by the matrix unit, then the float steps of the contract in order.
//!
//! The float steps bind, not the unit: beside AMX's instructions a processor was measured to start one 512-bit
//! float instruction a cycle, not two, and a row of 16 outputs needs four (three without a minimum), where the
//! unit needs less than three. So the unit works ahead of them: while they take one step's sums from a
//! ring in the nearest cache, the sums of the step before last go there, and the next products are under way.

use std::marker::PhantomData;

use super::group_tile::GroupCall;
use super::matrix_unit::MatrixUnit;
use super::unpacked::{Lines, Scales, Unpacked};
use crate::cpu::digits::BLOCK;
use crate::cpu::digits::group::{DigitGroup, GROUP_ROWS};
use crate::cpu::pack::PANEL_ROWS;
use crate::cpu::simd::{Kernel, LANES, Simd16};

/// A step's sums for half of the panel's outputs: hi, then lo.
type Sums = [[[i32; LANES]; GROUP_ROWS]; 2];

/// Steps between the storing of sums and their use.
const AHEAD: usize = 2;
const RING: usize = 4;

/// Groups behind the last one that are read, but not used: there are at least as many steps in them as products
/// under way.
pub(crate) const GROUPS_BEHIND: usize = AHEAD + 1;

/// Sums on their way from the unit to the float steps.
#[repr(C, align(64))]
pub(super) struct Ring([Sums; RING]);

/// Adds `count` blocks of 32 columns, of which `first` is the first, to the results of all groups; block 0's
/// replace what is there. `GROUPS` of columns share a scale in a block; `MINIMUM` is 1 for formats that have one.
pub(super) struct AddBlocks<'a, U, const GROUPS: usize, const MINIMUM: usize> {
    pub(super) call: &'a GroupCall,
    pub(super) unpacked: *const Unpacked,
    pub(super) ring: *mut Ring,
    pub(super) half: usize,
    pub(super) first: usize,
    pub(super) count: usize,
    pub(super) unit: PhantomData<U>,
}

// Whoever makes it keeps the promises of `GroupFunction`, and has unpacked the blocks.
impl<U: MatrixUnit, const GROUPS: usize, const MINIMUM: usize> Kernel for AddBlocks<'_, U, GROUPS, MINIMUM> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd16>(self) {
        // SAFETY: see above; the instruction set is the caller's promise.
        unsafe {
            let Self { call, unpacked, ring, half, first, count, .. } = self;
            let mut unit = U::registers();
            let blocks = call.columns / BLOCK;
            let digits = call.digits.add(first);
            let mut products = Products::<GROUPS> {
                lines: (&raw const (*unpacked).lines).cast(),
                ring: ring.cast(),
                digits,
                to_next_group: blocks - count,
                steps: count * GROUPS,
                step: 0,
                stored: 0,
            };
            products.start(&mut unit);
            for group in 0..call.rows.div_ceil(GROUP_ROWS) {
                let out = call.out.add(group * GROUP_ROWS * PANEL_ROWS + half * LANES);
                let input = Input {
                    ring: ring.cast(),
                    scales: (&raw const (*unpacked).scales).cast(),
                    digits: digits.add(group * blocks),
                };
                if call.rows - group * GROUP_ROWS > GROUP_ROWS / 2 {
                    let mut y = load::<S, GROUP_ROWS>(out, first == 0);
                    add_steps::<S, U, GROUPS, MINIMUM, GROUP_ROWS>(&mut unit, &mut products, &input, &mut y);
                    put::<S, GROUP_ROWS>(out, y);
                } else {
                    let mut y = load::<S, { GROUP_ROWS / 2 }>(out, first == 0);
                    add_steps::<S, U, GROUPS, MINIMUM, { GROUP_ROWS / 2 }>(
                        &mut unit,
                        &mut products,
                        &input,
                        &mut y,
                    );
                    put::<S, { GROUP_ROWS / 2 }>(out, y);
                }
            }
        }
    }
}

/// What a group's steps read.
struct Input {
    ring: *const Sums,
    /// Of the first step.
    scales: *const Scales,
    /// The first block.
    digits: *const DigitGroup,
}

/// What a step of the float contract reads.
struct Step<S: Simd16> {
    sums: *const Sums,
    d: S::F,
    m: S::F,
    /// Of the activations: scales, and sums of these columns.
    scales: *const f32,
    sums_of_activations: *const f32,
}

/// All steps of the float contract for the first `ROWS` rows of a group, with the unit's instructions spread
/// between the rows.
#[inline(always)]
unsafe fn add_steps<
    S: Simd16,
    U: MatrixUnit,
    const GROUPS: usize,
    const MINIMUM: usize,
    const ROWS: usize,
>(
    unit: &mut U,
    products: &mut Products<GROUPS>,
    input: &Input,
    y: &mut [S::F; ROWS],
) {
    // SAFETY: as in `AddBlocks::run`.
    unsafe {
        for step in 0..products.steps {
            let digits = input.digits.add(step / GROUPS);
            let scales = input.scales.add(step);
            let which = if GROUPS == 1 { 0 } else { 1 + step % 2 };
            let at = Step::<S> {
                sums: input.ring.add((products.stored - AHEAD) % RING),
                d: S::load((&raw const (*scales)[0]).cast()),
                m: S::load((&raw const (*scales)[1]).cast()),
                scales: (&raw const (*digits).scales).cast(),
                sums_of_activations: (&raw const (*digits).sums[which]).cast(),
            };
            macro_rules! eighth {
                ($eighth:literal) => {
                    y[ROWS / 8 * $eighth] =
                        add_row::<S, MINIMUM>(&at, ROWS / 8 * $eighth, y[ROWS / 8 * $eighth]);
                    if ROWS == 16 {
                        y[2 * $eighth + 1] = add_row::<S, MINIMUM>(&at, 2 * $eighth + 1, y[2 * $eighth + 1]);
                    }
                };
            }
            products.store::<0, U>(unit);
            eighth!(0);
            products.load_first(unit);
            eighth!(1);
            products.multiply::<0, 2, U>(unit);
            eighth!(2);
            eighth!(3);
            products.store::<1, U>(unit);
            eighth!(4);
            products.load_second(unit);
            eighth!(5);
            products.multiply::<1, 3, U>(unit);
            eighth!(6);
            eighth!(7);
            products.stored += 1;
            products.advance();
        }
    }
}

/// The step for a row.
#[inline(always)]
unsafe fn add_row<S: Simd16, const MINIMUM: usize>(step: &Step<S>, row: usize, y: S::F) -> S::F {
    // SAFETY: as in `AddBlocks::run`.
    unsafe {
        let hi = S::load_i((&raw const (*step.sums)[0][row]).cast());
        let lo = S::load_i((&raw const (*step.sums)[1][row]).cast());
        let whole = S::to_f(S::add_i(S::times_256(hi), lo));
        let y = S::fma(whole, S::mul(step.d, S::splat(*step.scales.add(row))), y);
        if MINIMUM == 1 {
            return S::fma(step.m, S::splat(*step.sums_of_activations.add(row)), y);
        }
        y
    }
}

/// The results so far.
#[inline(always)]
unsafe fn load<S: Simd16, const ROWS: usize>(from: *const f32, none: bool) -> [S::F; ROWS] {
    // SAFETY: the results of the group's rows lie there, says `GroupCall`.
    unsafe {
        let mut y = [S::zero(); ROWS];
        if !none {
            for (row, y) in y.iter_mut().enumerate() {
                *y = S::load(from.add(row * PANEL_ROWS));
            }
        }
        y
    }
}

#[inline(always)]
unsafe fn put<S: Simd16, const ROWS: usize>(to: *mut f32, y: [S::F; ROWS]) {
    for (row, y) in y.into_iter().enumerate() {
        // SAFETY: as in `load`.
        unsafe { S::store(to.add(row * PANEL_ROWS), y) };
    }
}

/// The products under way: step after step, group after group.
struct Products<const GROUPS: usize> {
    lines: *const Lines,
    ring: *mut Sums,
    /// The block of the next product.
    digits: *const DigitGroup,
    /// Blocks between the last one of a group and the first of the next.
    to_next_group: usize,
    steps: usize,
    /// Of the next product.
    step: usize,
    /// Steps whose sums have been stored.
    stored: usize,
}

// SAFETY, for all functions: as in `AddBlocks::run`.
impl<const GROUPS: usize> Products<GROUPS> {
    /// Gets ahead of the float steps.
    #[inline(always)]
    unsafe fn start<U: MatrixUnit>(&mut self, unit: &mut U) {
        unsafe {
            self.all(unit);
            for _ in 0..AHEAD {
                self.store::<0, U>(unit);
                self.store::<1, U>(unit);
                self.stored += 1;
                self.all(unit);
            }
        }
    }

    #[inline(always)]
    unsafe fn all<U: MatrixUnit>(&mut self, unit: &mut U) {
        unsafe {
            self.load_first(unit);
            self.multiply::<0, 2, U>(unit);
            self.load_second(unit);
            self.multiply::<1, 3, U>(unit);
            self.advance();
        }
    }

    /// The sums of the last product into the ring.
    #[inline(always)]
    unsafe fn store<const SUMS: usize, U: MatrixUnit>(&self, unit: &mut U) {
        unsafe {
            let to = &raw mut (*self.ring.add(self.stored % RING))[SUMS];
            unit.store::<SUMS>(to.cast(), LANES * 4);
        }
    }

    #[inline(always)]
    unsafe fn load_first(&self, unit: &mut impl MatrixUnit) {
        unsafe {
            unit.load::<4>(self.lines.add(self.step).cast(), 64);
            unit.load::<2>(self.activations(0), BLOCK);
        }
    }

    #[inline(always)]
    unsafe fn load_second(&self, unit: &mut impl MatrixUnit) {
        unsafe { unit.load::<3>(self.activations(1), BLOCK) }
    }

    #[inline(always)]
    unsafe fn activations(&self, digit: usize) -> *const u8 {
        // The second 16 columns of a row end beyond the register's 32: what lies there meets weights of 0.
        let skip = if GROUPS == 1 { 0 } else { self.step % 2 * 16 };
        unsafe { (&raw const (*self.digits).digits[digit]).cast::<u8>().add(skip) }
    }

    #[inline(always)]
    unsafe fn multiply<const SUMS: usize, const ACTIVATIONS: usize, U: MatrixUnit>(&self, unit: &mut U) {
        unsafe {
            unit.zero::<SUMS>();
            unit.dot::<SUMS, ACTIVATIONS, 4>();
        }
    }

    /// To the next product, and on behind the last group. Without a branch, around which the compiler would
    /// move the float steps and spill their results.
    #[inline(always)]
    unsafe fn advance(&mut self) {
        unsafe {
            self.step += 1;
            let last = usize::from(self.step == self.steps).wrapping_neg();
            let blocks = if GROUPS == 1 { 1 } else { 1 - self.step % 2 };
            self.step &= !last;
            self.digits = self.digits.add(blocks + (self.to_next_group & last));
        }
    }
}
