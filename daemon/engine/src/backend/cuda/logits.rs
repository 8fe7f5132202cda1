//! Logits that stay on the GPU: the best token of each row came with the step, rows are copied when they are wanted.

use ostro_kernels::cuda::{Cuda, CudaRows};

use super::convert::failed;
use crate::forward::{Best, DeviceLogits, ForwardError};

pub(super) struct GpuLogits<'a> {
    /// `u32::MAX` where a logit is not finite.
    pub(super) best: Vec<u32>,
    pub(super) cuda: &'a Cuda,
    pub(super) logits: &'a CudaRows,
    pub(super) row: &'a mut [f32],
}

impl DeviceLogits for GpuLogits<'_> {
    fn rows(&self) -> usize {
        self.best.len()
    }

    fn best(&self, row: usize) -> Best {
        match self.best[row] {
            u32::MAX => Best::NotFinite,
            token => Best::Token(token),
        }
    }

    fn row_mut(&mut self, row: usize) -> Result<&mut [f32], ForwardError> {
        self.cuda.read_row(self.logits, row, self.row).map_err(failed)?;
        Ok(self.row)
    }
}
