//! What a head does not tell of a table, row by row.

use std::ops::Range;
use std::sync::Mutex;

use super::row::{BLOCK, Rounding, Writer};
use crate::cpu::block::{Block, BlockFormat, WeightType};
use crate::cpu::isa::Isa;
use crate::cpu::ops::Cpu;
use crate::cpu::pack::{MatrixBytes, PackError};
use crate::cpu::simd::{Kernel, Simd16};

/// A table and its head, of one shape.
pub(super) struct Pair<'a> {
    table: MatrixBytes<'a>,
    head: MatrixBytes<'a>,
    pub(super) rounding: Rounding,
}

/// Rows, one after another.
#[derive(Debug, Default)]
pub(super) struct Encoded {
    pub(super) bytes: Vec<u8>,
    /// Of every row.
    pub(super) sizes: Vec<u32>,
}

impl<'a> Pair<'a> {
    /// `None`: their shapes differ, or the table's type is rounded otherwise.
    pub(super) fn of(table: MatrixBytes<'a>, head: MatrixBytes<'a>) -> Option<Self> {
        let rounding = Rounding::of(table.weight_type)?;
        table.row_bytes().and(head.row_bytes()).ok()?;
        let same = (table.rows, table.columns) == (head.rows, head.columns);
        let blocks = table.columns / BLOCK;
        (same && blocks <= usize::from(u16::MAX)).then_some(Self { table, head, rounding })
    }

    pub(super) fn rows(&self) -> usize {
        self.table.rows
    }

    /// Of the table.
    pub(super) fn row_bytes(&self) -> usize {
        self.table.bytes.len() / self.table.rows
    }

    /// `None`: more than `limit` bytes, or a row that cannot be told so.
    pub(super) fn encode(
        &self,
        rows: Range<usize>,
        limit: usize,
        isa: Isa,
    ) -> Result<Option<Encoded>, PackError> {
        isa.run(EncodeRows { pair: self, rows, limit })
    }

    /// All rows, on all threads.
    pub(super) fn encode_all(&self, limit: usize, cpu: &mut Cpu) -> Result<Option<Encoded>, PackError> {
        let isa = cpu.isa();
        let parts = Mutex::new(Vec::new());
        cpu.pool_mut().run(&|team| {
            let rows = team.share(self.table.rows);
            let first = rows.start;
            let part = self.encode(rows, limit, isa);
            parts.lock().expect("no thread panicked").push((first, part));
        });
        let mut parts = parts.into_inner().expect("no thread panicked");
        parts.sort_by_key(|(first, _)| *first);
        let parts = parts.into_iter().map(|(_, part)| part).collect::<Result<Option<Vec<_>>, _>>()?;
        Ok(parts.map(Encoded::joined).filter(|all| all.bytes.len() <= limit))
    }
}

impl Encoded {
    fn joined(parts: Vec<Self>) -> Self {
        let mut all = Self {
            bytes: Vec::with_capacity(parts.iter().map(|part| part.bytes.len()).sum()),
            sizes: Vec::with_capacity(parts.iter().map(|part| part.sizes.len()).sum()),
        };
        for part in parts {
            all.bytes.extend(part.bytes);
            all.sizes.extend(part.sizes);
        }
        all
    }
}

struct EncodeRows<'a> {
    pair: &'a Pair<'a>,
    rows: Range<usize>,
    limit: usize,
}

impl Kernel for EncodeRows<'_> {
    type Output = Result<Option<Encoded>, PackError>;

    /// Loading takes as long as this: the common types have code of their own.
    #[inline(always)]
    unsafe fn run<S: Simd16>(self) -> Self::Output {
        // SAFETY: as here.
        match (self.pair.table.weight_type, self.pair.head.weight_type) {
            (WeightType::Q5_0, WeightType::Q8_0) => unsafe { self.encode::<S>(WeightType::Q5_0, read_q8_0) },
            (table, head) => unsafe {
                self.encode::<S>(table, |bytes, values| head.dequantise(bytes, values))
            },
        }
    }
}

impl EncodeRows<'_> {
    /// # Safety
    /// The processor has the instruction set of `S`.
    #[inline(always)]
    unsafe fn encode<S: Simd16>(
        self,
        table: WeightType,
        read_head: impl Fn(&[u8], &mut [f32]),
    ) -> Result<Option<Encoded>, PackError> {
        let Self { pair, rows, limit } = self;
        let (row_bytes, head_bytes) = (pair.row_bytes(), pair.head.bytes.len() / pair.head.rows);
        let mut encoded = Encoded::default();
        let mut writer = Writer::default();
        let mut values = vec![0.0; pair.table.columns];
        let mut own = Block::EMPTY;
        for row in rows {
            read_head(&pair.head.bytes[row * head_bytes..][..head_bytes], &mut values);
            let bytes = &pair.table.bytes[row * row_bytes..][..row_bytes];
            if let Some(offset) = table.first_non_finite(bytes) {
                return Err(PackError::NotFinite { offset: row * row_bytes + offset });
            }
            let blocks = bytes.chunks_exact(table.block_bytes());
            for (index, (bytes, values)) in blocks.zip(values.as_chunks::<BLOCK>().0).enumerate() {
                own.read(table, bytes);
                // SAFETY: see above.
                let (d, told) = unsafe {
                    (pair.rounding.scale_of::<S>(values), pair.rounding.quants_of::<S>(values, own.d))
                };
                if own.d != d {
                    writer.scale(index, own.d);
                }
                writer.quants(index, &own.quants, &told);
            }
            let Some(size) = writer.end(&mut encoded.bytes) else { return Ok(None) };
            encoded.sizes.push(size);
            if encoded.bytes.len() > limit {
                return Ok(None);
            }
        }
        Ok(Some(encoded))
    }
}

/// As `WeightType::dequantise`.
#[inline(always)]
fn read_q8_0(bytes: &[u8], values: &mut [f32]) {
    const FORMAT: BlockFormat = BlockFormat::of(WeightType::Q8_0).expect("it has blocks");
    let mut block = Block::EMPTY;
    let blocks = bytes.chunks_exact(WeightType::Q8_0.block_bytes());
    for (bytes, values) in blocks.zip(values.as_chunks_mut::<BLOCK>().0) {
        block.read(WeightType::Q8_0, bytes);
        block.weights(FORMAT, values);
    }
}
