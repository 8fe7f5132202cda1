//! Which rows of its input a product takes, and which rows of its output it writes.

/// Rows `0..count` of the product.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taken<'a> {
    pub(crate) count: usize,
    /// The same rows when there is no list.
    inputs: Option<&'a [u32]>,
    outputs: Option<&'a [u32]>,
}

impl<'a> Taken<'a> {
    pub(crate) fn all(count: usize) -> Self {
        Self { count, inputs: None, outputs: None }
    }

    /// The listed rows, as the first ones of the output.
    pub(crate) fn gathered(list: &'a [u32]) -> Self {
        Self { count: list.len(), inputs: Some(list), outputs: None }
    }

    /// The listed rows, in their places.
    pub(crate) fn in_place(list: &'a [u32]) -> Self {
        Self { count: list.len(), inputs: Some(list), outputs: Some(list) }
    }

    #[inline(always)]
    pub(crate) fn input(self, row: usize) -> usize {
        self.inputs.map_or(row, |list| list[row] as usize)
    }

    #[inline(always)]
    pub(crate) fn output(self, row: usize) -> usize {
        self.outputs.map_or(row, |list| list[row] as usize)
    }
}
