//! The matrix registers in plain Rust, as strict about shapes as the hardware, for tests on any machine.

use super::{MatrixUnit, SHAPES};

pub(crate) struct Emulated {
    registers: [[[u8; 64]; 16]; 8],
}

fn rows(register: usize) -> usize {
    SHAPES.rows[register].into()
}

fn row_bytes(register: usize) -> usize {
    SHAPES.row_bytes[register].into()
}

impl MatrixUnit for Emulated {
    unsafe fn configure() {}

    unsafe fn release() {}

    unsafe fn registers() -> Self {
        Self { registers: [[[0; 64]; 16]; 8] }
    }

    unsafe fn zero<const REGISTER: usize>(&mut self) {
        self.registers[REGISTER] = [[0; 64]; 16];
    }

    unsafe fn load<const REGISTER: usize>(&mut self, from: *const u8) {
        for (i, row) in self.registers[REGISTER][..rows(REGISTER)].iter_mut().enumerate() {
            // SAFETY: the row is the caller's promise, and no register's row has more than 64 bytes.
            unsafe { from.add(i * 64).copy_to(row.as_mut_ptr(), row_bytes(REGISTER)) };
        }
    }

    unsafe fn store<const REGISTER: usize>(&mut self, to: *mut u8) {
        for (i, row) in self.registers[REGISTER][..rows(REGISTER)].iter().enumerate() {
            // SAFETY: as in `load`.
            unsafe { row.as_ptr().copy_to(to.add(i * 64), row_bytes(REGISTER)) };
        }
    }

    unsafe fn dot<const SUMS: usize, const ACTIVATIONS: usize, const WEIGHTS: usize>(&mut self) {
        // Where these differ the hardware faults.
        assert_eq!(rows(SUMS), rows(ACTIVATIONS));
        assert_eq!(row_bytes(SUMS), row_bytes(WEIGHTS));
        assert_eq!(row_bytes(ACTIVATIONS) / 4, rows(WEIGHTS));
        assert!(SUMS != ACTIVATIONS && SUMS != WEIGHTS && ACTIVATIONS != WEIGHTS);
        for row in 0..rows(SUMS) {
            for output in 0..row_bytes(SUMS) / 4 {
                let at = output * 4..output * 4 + 4;
                let word = &self.registers[SUMS][row][at.clone()];
                let mut sum = i32::from_le_bytes(word.try_into().expect("four bytes"));
                for k in 0..row_bytes(ACTIVATIONS) {
                    let x = self.registers[ACTIVATIONS][row][k] as i8;
                    let w = self.registers[WEIGHTS][k / 4][output * 4 + k % 4] as i8;
                    sum = sum.wrapping_add(i32::from(x) * i32::from(w));
                }
                self.registers[SUMS][row][at].copy_from_slice(&sum.to_le_bytes());
            }
        }
    }

    /// As Intel's manual has it: even and odd products in two chains of fused steps, then their sum.
    unsafe fn dot_bf16<const SUMS: usize, const A: usize, const B: usize>(&mut self) {
        let bf16 = |row: &[u8; 64], i: usize| {
            normal(f32::from_bits(u32::from(u16::from_le_bytes([row[2 * i], row[2 * i + 1]])) << 16))
        };
        for row in 0..16 {
            for column in 0..16 {
                let mut chains = [0.0; 2];
                for k in 0..16 {
                    for (i, chain) in chains.iter_mut().enumerate() {
                        let a = bf16(&self.registers[A][row], 2 * k + i);
                        let b = bf16(&self.registers[B][k], 2 * column + i);
                        *chain = normal(a.mul_add(b, *chain));
                    }
                }
                let at = column * 4..column * 4 + 4;
                let word = self.registers[SUMS][row][at.clone()].try_into().expect("four bytes");
                let sum = normal(normal(f32::from_le_bytes(word)) + normal(chains[0] + chains[1]));
                self.registers[SUMS][row][at].copy_from_slice(&sum.to_le_bytes());
            }
        }
    }
}

/// Subnormal numbers are 0.
fn normal(x: f32) -> f32 {
    if x.is_subnormal() { 0.0f32.copysign(x) } else { x }
}
