//! A step's rows as the kernels read them: one table in pinned memory, copied to the device once a step.
//!
//! Addresses never change, so that recorded graphs stay true. Small steps, which graphs are recorded of, have a small
//! table of their own.

use cudarc::driver::result;

use super::args::{Counts, Tile};
use super::buffer::{Buffer, Pinned};
use super::device::{CudaError, Device, During};
use super::matrix::allocate;
use crate::cpu::attention::RowPlace;

/// Rows of a tile of prompt rows that attend together.
pub(crate) const TILE_ROWS: usize = 64;
const COUNTS: usize = size_of::<Counts>() / 4;

/// The rows of a step, as the engine has them.
#[derive(Clone, Copy, Debug)]
pub struct StepView<'a> {
    pub tokens: &'a [u32],
    pub places: &'a [RowPlace],
    pub block_tables: &'a [&'a [u32]],
    pub sampled: &'a [u32],
}

/// Whether prompt rows have products of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Products {
    /// Prompt rows are wide, all others narrow.
    ByKind,
    AllNarrow,
}

/// Where the parts of a table begin, in words.
#[derive(Clone, Copy, Debug)]
struct Layout {
    rows: usize,
    sampled: usize,
}

impl Layout {
    fn tokens(self) -> usize {
        COUNTS
    }
    fn positions(self) -> usize {
        self.tokens() + self.rows
    }
    fn table_first(self) -> usize {
        self.positions() + self.rows
    }
    fn slots(self) -> usize {
        self.table_first() + self.rows
    }
    fn narrow(self) -> usize {
        self.slots() + self.rows
    }
    fn wide(self) -> usize {
        self.narrow() + self.rows
    }
    /// Four words each, aligned so.
    fn singles(self) -> usize {
        (self.wide() + self.rows).next_multiple_of(4)
    }
    fn sampled(self) -> usize {
        self.singles() + 4 * self.rows
    }
    fn tiles(self) -> usize {
        (self.sampled() + self.sampled).next_multiple_of(4)
    }
    fn words(self) -> usize {
        self.tiles() + 4 * self.rows
    }
}

/// One table, on both sides.
#[derive(Debug)]
pub(crate) struct StepTable {
    layout: Layout,
    host: Pinned<u32>,
    device: Buffer,
}

/// Addresses of a table's parts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StepAddresses {
    pub(crate) counts: u64,
    pub(crate) tokens: u64,
    pub(crate) positions: u64,
    pub(crate) table_first: u64,
    pub(crate) slots: u64,
    pub(crate) narrow: u64,
    pub(crate) wide: u64,
    pub(crate) singles: u64,
    pub(crate) sampled: u64,
    pub(crate) tiles: u64,
}

impl StepTable {
    /// Of the device's memory.
    pub(crate) fn bytes(rows: usize, sampled: usize) -> usize {
        Layout { rows, sampled }.words() * 4
    }

    pub(crate) fn new(device: &Device, rows: usize, sampled: usize) -> Result<Self, CudaError> {
        let layout = Layout { rows, sampled };
        let host = Pinned::zeroed(&device.context, layout.words()).during("cannot allocate pinned memory")?;
        let bytes = Self::bytes(rows, sampled);
        let memory = allocate(device, "step tables", bytes, |stream| Buffer::zeroed(stream, bytes))?;
        Ok(StepTable { layout, host, device: memory })
    }

    pub(crate) fn holds(&self, step: &StepView<'_>) -> bool {
        step.tokens.len() <= self.layout.rows && step.sampled.len() <= self.layout.sampled
    }

    pub(crate) fn addresses(&self) -> StepAddresses {
        let at = |words: usize| self.device.address() + words as u64 * 4;
        let layout = self.layout;
        StepAddresses {
            counts: at(0),
            tokens: at(layout.tokens()),
            positions: at(layout.positions()),
            table_first: at(layout.table_first()),
            slots: at(layout.slots()),
            narrow: at(layout.narrow()),
            wide: at(layout.wide()),
            singles: at(layout.singles()),
            sampled: at(layout.sampled()),
            tiles: at(layout.tiles()),
        }
    }

    /// Writes the step on the host; `blocks` gets the block tables one after another.
    pub(crate) fn write(&mut self, step: &StepView<'_>, products: Products, blocks: &mut Blocks) -> Counts {
        let layout = self.layout;
        let words = self.host.as_mut_slice();
        words[layout.tokens()..][..step.tokens.len()].copy_from_slice(step.tokens);
        words[layout.sampled()..][..step.sampled.len()].copy_from_slice(step.sampled);
        blocks.clear();
        let mut counts = Counts {
            rows: step.tokens.len() as u32,
            sampled: step.sampled.len() as u32,
            ..Counts::default()
        };
        let mut sequence = usize::MAX;
        let mut first = 0;
        let mut tile: Option<Tile> = None;
        for (row, place) in step.places.iter().enumerate() {
            if place.sequence as usize != sequence {
                sequence = place.sequence as usize;
                first = blocks.push(step.block_tables[sequence]);
            }
            words[layout.positions() + row] = place.position;
            words[layout.table_first() + row] = first;
            let (list, count) = match place.is_prompt && products == Products::ByKind {
                true => (layout.wide(), &mut counts.wide),
                false => (layout.narrow(), &mut counts.narrow),
            };
            words[list + *count as usize] = row as u32;
            words[layout.slots() + row] = if list == layout.wide() { !*count } else { *count };
            *count += 1;
            if !place.is_prompt {
                let single = [row as u32, place.position, first, words[layout.slots() + row]];
                words[layout.singles() + 4 * counts.singles as usize..][..4].copy_from_slice(&single);
                counts.singles += 1;
                continue;
            }
            let fits = |tile: &Tile| {
                tile.table_first == first
                    && tile.row + tile.rows == row as u32
                    && tile.position + tile.rows == place.position
                    && tile.rows < TILE_ROWS as u32
            };
            let grown = match tile.filter(fits) {
                Some(tile) => Tile { rows: tile.rows + 1, ..tile },
                None => {
                    counts.tiles += 1;
                    Tile { row: row as u32, rows: 1, position: place.position, table_first: first }
                }
            };
            let at = layout.tiles() + 4 * (counts.tiles as usize - 1);
            words[at..at + 4].copy_from_slice(&[grown.row, grown.rows, grown.position, grown.table_first]);
            tile = Some(grown);
        }
        let Counts { rows, narrow, wide, sampled, singles, tiles, reserved: [a, b] } = counts;
        words[..COUNTS].copy_from_slice(&[rows, narrow, wide, sampled, singles, tiles, a, b]);
        counts
    }

    /// Queues the copy. The host side must not change before the stream is synchronised.
    pub(crate) fn upload(&self, device: &Device) -> Result<(), CudaError> {
        copy(device, self.device.address(), self.host.as_slice())
    }
}

/// The block tables of a step's sequences, one after another.
#[derive(Debug)]
pub(crate) struct Blocks {
    host: Pinned<u32>,
    len: usize,
    device: Buffer,
}

impl Blocks {
    pub(crate) fn new(device: &Device, capacity: usize) -> Result<Self, CudaError> {
        let host = Pinned::zeroed(&device.context, capacity).during("cannot allocate pinned memory")?;
        let memory =
            allocate(device, "block tables", capacity * 4, |stream| Buffer::zeroed(stream, capacity * 4))?;
        Ok(Blocks { host, len: 0, device: memory })
    }

    fn clear(&mut self) {
        self.len = 0;
    }

    /// Where the table begins.
    fn push(&mut self, table: &[u32]) -> u32 {
        let first = self.len;
        self.host.as_mut_slice()[first..first + table.len()].copy_from_slice(table);
        self.len += table.len();
        first as u32
    }

    pub(crate) fn address(&self) -> u64 {
        self.device.address()
    }

    pub(crate) fn upload(&self, device: &Device) -> Result<(), CudaError> {
        copy(device, self.device.address(), &self.host.as_slice()[..self.len])
    }
}

fn copy(device: &Device, to: u64, words: &[u32]) -> Result<(), CudaError> {
    if words.is_empty() {
        return Ok(());
    }
    // SAFETY: the device's side is as long as the host's, which is pinned and stays unchanged until the stream is
    // synchronised at the end of the step.
    unsafe { result::memcpy_htod_async(to, words, device.stream.cu_stream()) }
        .during("cannot copy a step to the GPU")
}
