//! Tables of embeddings of models whose output head is another matrix.

mod derived;
mod encode;
mod row;
#[cfg(test)]
mod tests;

use super::isa::Isa;
use super::ops::Cpu;
use super::pack::{MatrixBytes, PackError, PackedMatrix};
use derived::DerivedTable;

/// A table of embeddings, without loss.
#[derive(Debug)]
pub struct EmbeddingTable(Table);

#[derive(Debug)]
enum Table {
    Packed(PackedMatrix),
    Derived(DerivedTable),
}

impl EmbeddingTable {
    /// Some files hold one matrix twice, as table and as head, rounded to two types: of the table only what its head does
    /// not tell is kept then, and its rows are read with that head.
    pub fn load(table: MatrixBytes<'_>, head: MatrixBytes<'_>, cpu: &mut Cpu) -> Result<Self, PackError> {
        match DerivedTable::of(table, head, cpu)? {
            Some(derived) => Ok(Self(Table::Derived(derived))),
            None => Ok(Self(Table::Packed(PackedMatrix::pack(table, cpu)?))),
        }
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> usize {
        match &self.0 {
            Table::Packed(matrix) => matrix.bytes(),
            Table::Derived(derived) => derived.bytes(),
        }
    }
}

/// Where tokens' rows are read.
#[derive(Clone, Copy, Debug)]
pub struct Embeddings<'a> {
    /// `None`: the head serves.
    pub table: Option<&'a EmbeddingTable>,
    pub head: &'a PackedMatrix,
}

impl Embeddings<'_> {
    /// Exactly dequantised.
    ///
    /// # Panics
    /// If there is no such row, or the widths differ.
    pub(crate) fn read_row(&self, row: usize, isa: Isa, out: &mut [f32]) {
        match self.table.map(|table| &table.0) {
            None => self.head.dequantise_row(row, out),
            Some(Table::Packed(matrix)) => matrix.dequantise_row(row, out),
            Some(Table::Derived(derived)) => derived.read_row(self.head, row, isa, out),
        }
    }

    /// (rows, columns)
    pub(crate) fn shape(&self) -> (usize, usize) {
        match self.table.map(|table| &table.0) {
            Some(Table::Packed(matrix)) => (matrix.rows(), matrix.columns()),
            // A derived table has its head's shape.
            None | Some(Table::Derived(_)) => (self.head.rows(), self.head.columns()),
        }
    }
}
