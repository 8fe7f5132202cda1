//! Attention of query rows over the paged cache. A row's bits depend only on its own query, keys and values (and, on a
//! matrix unit, on what its token is), never on the batch, the chunking, the block table or the threads.
//!
//! The contract: keys are taken in steps of 64 and parts of 256, both counted from position 0. A part
//! is an online softmax in base 2 (`step`, or `wide` for prompt rows on a matrix unit); the parts of a row are
//! merged in order (`merge`). How rows, heads and parts are grouped into units of work (`plan`) is free, since no
//! unit's result depends on another's.

pub(crate) mod buffers;
pub(crate) mod element;
mod merge;
mod part;
pub(crate) mod plan;
pub(crate) mod scratch;
mod step;
pub(crate) mod unit;
mod weigh;
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, unused_imports))] // where there is no matrix unit
pub(crate) mod wide;
mod wide_tiles;

/// Keys of a part.
pub(crate) const PART: usize = 256;

/// One layer's heads. A row of queries, keys and values is `query_heads * head_dim` floats of q, then
/// `kv_heads * head_dim` of k, then as many of v.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HeadShape {
    pub query_heads: usize,
    /// Divides `query_heads`.
    pub kv_heads: usize,
    /// A multiple of 8, at most 256.
    pub head_dim: usize,
    /// What the scores are multiplied with, usually 1 / sqrt(head_dim).
    pub scale: f32,
}

impl HeadShape {
    /// Query heads that share a key head.
    pub fn group(&self) -> usize {
        self.query_heads / self.kv_heads
    }

    /// Floats of a row of queries, keys and values.
    pub fn qkv_width(&self) -> usize {
        (self.query_heads + 2 * self.kv_heads) * self.head_dim
    }

    /// Floats of a row of attention's output.
    pub fn out_width(&self) -> usize {
        self.query_heads * self.head_dim
    }

    pub(crate) fn check(&self) {
        assert!(self.kv_heads > 0 && self.query_heads > 0, "a layer needs heads");
        assert_eq!(self.query_heads % self.kv_heads, 0, "kv heads must divide the query heads");
        assert!(
            self.head_dim.is_multiple_of(8) && (8..=256).contains(&self.head_dim),
            "head dimension {} is not a multiple of 8 up to 256",
            self.head_dim
        );
    }
}

/// Where a row of the batch stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowPlace {
    /// Index into the block tables.
    pub sequence: u32,
    /// Index of the row's token in its sequence, from 0.
    pub position: u32,
    /// Where there is a matrix unit, rows of prompt tokens keep a contract of their own.
    pub is_prompt: bool,
}

/// The rows of a step. Rows of a sequence are consecutive, with consecutive positions; a row sees the
/// keys of its sequence up to its own position, all of which must be in the cache. No two rows have one place in it.
#[derive(Clone, Copy, Debug)]
pub struct BatchView<'a> {
    pub rows: &'a [RowPlace],
    /// The blocks of each sequence, in order.
    pub block_tables: &'a [&'a [u32]],
}

#[cfg(test)]
mod tests;
