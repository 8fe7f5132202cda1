//! A matrix that is never unpacked for wide products: a table of embeddings, or a head, whose rows are those of a
//! whole vocabulary.

use super::matrix::CudaMatrix;

#[derive(Debug)]
pub struct CudaTable(CudaMatrix);

impl CudaTable {
    pub(crate) fn new(matrix: CudaMatrix) -> Self {
        CudaTable(matrix)
    }

    pub(crate) fn matrix(&self) -> &CudaMatrix {
        &self.0
    }

    pub fn bytes(&self) -> usize {
        self.0.bytes()
    }
}
