//! The matrix of logits, with what it takes to find a row's largest logit without computing all of them.

use super::block::BlockFormat;
use super::linear::estimate::{MeasurePanels, lengths};
use super::memory::Shared;
use super::ops::Cpu;
use super::pack::{MatrixBytes, PackError, PackedMatrix};

#[derive(Debug)]
pub struct Head {
    matrix: PackedMatrix,
    /// Of its panels, see `MeasurePanels`; none where estimates gain nothing.
    lengths: Vec<f32>,
}

impl Head {
    /// On all threads.
    pub fn pack(matrix: MatrixBytes<'_>, cpu: &mut Cpu) -> Result<Self, PackError> {
        let matrix = PackedMatrix::pack(matrix, cpu)?;
        let is_estimated = cpu.isa().has_dots() && BlockFormat::of(matrix.weight_type()).is_some();
        let lengths = if is_estimated { measure(&matrix, cpu) } else { Vec::new() };
        Ok(Self { matrix, lengths })
    }

    pub fn matrix(&self) -> &PackedMatrix {
        &self.matrix
    }

    /// Whether [`Cpu::largest_outputs`] takes it.
    pub fn is_estimated(&self) -> bool {
        !self.lengths.is_empty()
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> usize {
        self.matrix.bytes() + size_of_val(&*self.lengths)
    }

    pub(crate) fn lengths(&self) -> &[f32] {
        &self.lengths
    }
}

fn measure(matrix: &PackedMatrix, cpu: &mut Cpu) -> Vec<f32> {
    let count = lengths(matrix.columns());
    let mut lengths = vec![0.0; matrix.panels() * count];
    let (isa, out) = (cpu.isa(), Shared(lengths.as_mut_ptr()));
    cpu.pool_mut().run(&|team| {
        let panels = team.share(matrix.panels());
        let (start, len) = (panels.start * count, panels.len() * count);
        // SAFETY: each thread has panels of its own.
        let lengths = unsafe { std::slice::from_raw_parts_mut(out.get().add(start), len) };
        isa.run(MeasurePanels { matrix, first: panels.start, lengths });
    });
    lengths
}
