//! A table that its head tells, but for some bytes a row (`row`).

use super::encode::{Encoded, Pair};
use super::row::{BLOCK, Reader, Rounding};
use crate::cpu::isa::Isa;
use crate::cpu::ops::Cpu;
use crate::cpu::pack::{MatrixBytes, PackError, PackedMatrix};
use crate::cpu::simd::{Kernel, Simd16};

/// Rows by which is told whether a table is like its head.
const SAMPLES: usize = 64;
/// The parts of a table's bytes of which a derived one takes at most one.
const WORTH: usize = 4;

#[derive(Debug)]
pub(super) struct DerivedTable {
    rounding: Rounding,
    /// Where rows begin, and where the last one ends.
    starts: Vec<u32>,
    bytes: Vec<u8>,
}

impl DerivedTable {
    /// `None`: the head does not tell it, or its type is rounded otherwise.
    pub(super) fn of(
        table: MatrixBytes<'_>,
        head: MatrixBytes<'_>,
        cpu: &mut Cpu,
    ) -> Result<Option<Self>, PackError> {
        let Some(pair) = Pair::of(table, head) else { return Ok(None) };
        if !is_told(&pair, cpu.isa()) {
            return Ok(None);
        }
        let limit = (table.bytes.len() / WORTH).min(u32::MAX as usize);
        let Some(encoded) = pair.encode_all(limit, cpu)? else { return Ok(None) };
        Ok(Some(Self::new(pair.rounding, encoded)))
    }

    /// `encoded` has at most `u32::MAX` bytes.
    pub(super) fn new(rounding: Rounding, encoded: Encoded) -> Self {
        let mut end = 0;
        let ends = encoded.sizes.into_iter().map(|size| {
            end += size;
            end
        });
        Self { rounding, starts: std::iter::once(0).chain(ends).collect(), bytes: encoded.bytes }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes.len() + size_of_val(self.starts.as_slice())
    }

    /// The numbers of a row, as `WeightType::dequantise` has them; `head` is the table's.
    pub(super) fn read_row(&self, head: &PackedMatrix, row: usize, isa: Isa, out: &mut [f32]) {
        head.dequantise_row(row, out);
        let own = self.starts[row] as usize..self.starts[row + 1] as usize;
        isa.run(ReadRow { rounding: self.rounding, own: Reader::new(&self.bytes[own]), out });
    }
}

/// Makes of the head's numbers, in `out`, those of the table.
struct ReadRow<'a> {
    rounding: Rounding,
    own: Reader<'a>,
    out: &'a mut [f32],
}

impl Kernel for ReadRow<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd16>(mut self) {
        for (index, out) in self.out.as_chunks_mut::<BLOCK>().0.iter_mut().enumerate() {
            // SAFETY: as here.
            let (d, mut quants) = unsafe {
                let d = self.own.scale(index).unwrap_or_else(|| self.rounding.scale_of::<S>(out));
                (d, self.rounding.quants_of::<S>(out, d))
            };
            self.own.correct(index, &mut quants);
            for (out, q) in out.iter_mut().zip(quants) {
                *out = self.rounding.weight(q, d);
            }
        }
    }
}

/// Whether the head tells some of the rows.
fn is_told(pair: &Pair<'_>, isa: Isa) -> bool {
    let (mut samples, mut bytes) = (0, 0);
    for row in (0..pair.rows()).step_by(pair.rows().div_ceil(SAMPLES)) {
        match pair.encode(row..row + 1, usize::MAX, isa) {
            Ok(Some(encoded)) => bytes += encoded.bytes.len(),
            Ok(None) => return false,
            // All rows are read for the first bad one.
            Err(_) => {}
        }
        samples += 1;
    }
    bytes <= samples * pair.row_bytes() / WORTH
}
