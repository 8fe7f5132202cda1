//! What can be wrong with a GGUF file.

use super::MetadataError;
use crate::weights::MapError;

/// Why a GGUF file is refused. Offsets are bytes from the start of the file.
#[derive(Debug, thiserror::Error)]
pub enum GgufError {
    #[error("cannot open the file")]
    Map(#[from] MapError),
    #[error("not a GGUF file: it begins with {0:02x?}")]
    Magic([u8; 4]),
    #[error("GGUF version {0} is not supported; versions 2 and 3 are")]
    Version(u32),
    #[error("big-endian GGUF files are not supported")]
    BigEndian,
    #[error("the file ends inside {what} at offset {offset}: {wanted} bytes wanted, {left} left")]
    Truncated { what: &'static str, offset: usize, wanted: u64, left: usize },
    #[error("{what} at offset {offset} takes the head past {limit} bytes")]
    HeadTooLarge { what: &'static str, offset: usize, limit: usize },
    #[error("the header claims {count} {what}, at most {limit} are allowed")]
    Count { what: &'static str, count: u64, limit: u64 },
    #[error("{what} at offset {offset} is not UTF-8")]
    Text { what: &'static str, offset: usize, source: std::str::Utf8Error },
    #[error("metadata key at offset {offset} has {length} bytes, allowed is 1 to {limit}")]
    KeyLength { offset: usize, length: usize, limit: usize },
    #[error("metadata key {key:?} at offset {offset} occurs twice")]
    DuplicateKey { key: String, offset: usize },
    #[error("metadata key {key:?} has the unknown value type {id} at offset {offset}")]
    ValueType { key: String, offset: usize, id: u32 },
    #[error("metadata key {key:?} has the boolean {value} at offset {offset}, allowed is 0 or 1")]
    Bool { key: String, offset: usize, value: u8 },
    #[error("metadata key {key:?} has an array of arrays at offset {offset}, which is not supported")]
    NestedArray { key: String, offset: usize },
    #[error("metadata")]
    Metadata(#[from] MetadataError),
    #[error("general.alignment is {0}, allowed is a power of two up to 65536")]
    Alignment(u64),
    #[error("the model is split over {0} files, which is not supported; merge them into one")]
    Split(u64),
    #[error("tensor {name:?}, described at offset {offset}, {problem}")]
    Tensor { name: String, offset: usize, problem: TensorProblem },
}

/// What is wrong with one tensor's description.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum TensorProblem {
    #[error("has a name of {length} bytes, allowed is 1 to {limit}")]
    NameLength { length: usize, limit: usize },
    #[error("occurs twice")]
    Duplicate,
    #[error("has {0} dimensions, allowed is 1 to 4")]
    Dimensions(u32),
    #[error("has a dimension of 0")]
    ZeroDimension,
    #[error("has more elements than memory can hold: {0:?}")]
    TooLarge(Vec<u64>),
    #[error("has type {0}, which is not supported")]
    Type(String),
    #[error("has rows of {columns} elements, which is not a multiple of the {block} of a {dtype} block")]
    PartialBlock { columns: u64, block: usize, dtype: String },
    #[error("has data at {start}, which is not a multiple of the alignment {alignment}")]
    Misaligned { start: u64, alignment: u64 },
    #[error("has {bytes} bytes of data from {start}, past the file's end at {file}")]
    OutsideFile { start: u64, bytes: u64, file: usize },
    #[error("has data at {start}, inside that of tensor {other:?}")]
    Overlap { start: usize, other: String },
}
