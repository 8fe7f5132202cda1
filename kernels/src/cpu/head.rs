//! The matrix of logits, with what it takes to find a row's largest logit without computing all of them.

use super::block::BlockFormat;
use super::linear::estimate::{MeasurePanels, lengths};
use super::memory::{AllocError, Shared};
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
        if cpu.isa().estimates_logits() && BlockFormat::of(matrix.weight_type).is_some() {
            return Self::pack_estimated(matrix, cpu);
        }
        Ok(Self { matrix: PackedMatrix::pack(matrix, cpu)?, lengths: Vec::new() })
    }

    /// Of block-wise weights, on any instruction set.
    pub(crate) fn pack_estimated(matrix: MatrixBytes<'_>, cpu: &mut Cpu) -> Result<Self, PackError> {
        let matrix = PackedMatrix::pack(matrix, cpu)?;
        let lengths = measure(&matrix, cpu)?;
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

fn measure(matrix: &PackedMatrix, cpu: &mut Cpu) -> Result<Vec<f32>, AllocError> {
    let count = lengths(matrix.columns());
    let len = matrix.panels() * count;
    let mut lengths = Vec::new();
    lengths.try_reserve_exact(len).map_err(|_| AllocError { bytes: len * size_of::<f32>() })?;
    lengths.resize(len, 0.0);
    let (isa, out) = (cpu.isa(), Shared(lengths.as_mut_ptr()));
    cpu.pool_mut().run(&|team| {
        let panels = team.share(matrix.panels());
        let (start, len) = (panels.start * count, panels.len() * count);
        // SAFETY: each thread has panels of its own.
        let lengths = unsafe { std::slice::from_raw_parts_mut(out.get().add(start), len) };
        isa.run(MeasurePanels { matrix, first: panels.start, lengths });
    });
    Ok(lengths)
}
