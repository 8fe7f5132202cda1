//! GGUF files, versions 2 and 3: a head of typed metadata and tensor descriptions, then aligned data.
//!
//! Format: ggml's docs/gguf.md. The head is read and checked whole when the file is opened; tensor
//! bytes are only sliced. Nothing here interprets a key except `general.alignment` and `split.count`.

mod cursor;
mod error;
mod metadata;
mod tensors;
mod value;
pub mod write;

#[cfg(test)]
mod tests;

use std::path::Path;

pub use error::{GgufError, TensorProblem};
pub use metadata::{Metadata, MetadataError};
pub use tensors::TensorPlace;
pub use value::{Array, Number, NumberType, Numbers, Strings, Value};

use super::TensorView;
use super::mapped_file::MappedFile;
use cursor::Cursor;
use tensors::Tensors;

const MAGIC: [u8; 4] = *b"GGUF";
const ALIGNMENT_KEY: &str = "general.alignment";
const ALIGNMENT_DEFAULT: u64 = 32;
const ALIGNMENT_MAX: u64 = 1 << 16;

/// An open GGUF file.
#[derive(Debug)]
pub struct GgufFile {
    map: MappedFile,
    head: Head,
}

/// What stands before the data: a file's bytes understood, without the bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct Head {
    pub version: u32,
    pub metadata: Metadata,
    tensors: Tensors,
}

impl GgufFile {
    pub fn open(path: &Path) -> Result<Self, GgufError> {
        let map = MappedFile::open(path)?;
        let head = Head::parse(map.bytes())?;
        Ok(GgufFile { map, head })
    }

    pub fn metadata(&self) -> &Metadata {
        &self.head.metadata
    }

    pub fn tensor(&self, name: &str) -> Option<TensorView<'_>> {
        self.head.tensor(name, self.map.bytes())
    }

    pub fn tensor_names(&self) -> impl Iterator<Item = &str> {
        self.head.tensor_names()
    }

    pub(super) fn read_ahead(&self, bytes: &[u8]) -> bool {
        self.map.read_ahead(bytes)
    }
}

impl Head {
    /// Reads and checks the head of a whole file: afterwards every tensor lies inside `file`.
    pub fn parse(file: &[u8]) -> Result<Self, GgufError> {
        let mut cursor = Cursor::new(file);
        let magic = cursor.array()?;
        if magic != MAGIC {
            return Err(GgufError::Magic(magic));
        }
        let version = cursor.u32()?;
        if !(2..=3).contains(&version) {
            let big_endian = (1..=3).contains(&version.swap_bytes());
            return Err(if big_endian { GgufError::BigEndian } else { GgufError::Version(version) });
        }
        let tensor_count = cursor.u64()?;
        let key_count = cursor.u64()?;
        let metadata = Metadata::read(&mut cursor, key_count)?;
        let alignment = alignment(&metadata)?;
        refuse_split(&metadata)?;
        let tensors = Tensors::read(&mut cursor, tensor_count, alignment, file.len())?;
        Ok(Head { version, metadata, tensors })
    }

    /// The tensor's view of `file`, which must be the bytes that were parsed.
    pub fn tensor<'a>(&'a self, name: &str, file: &'a [u8]) -> Option<TensorView<'a>> {
        let (name, place) = self.tensors.get(name)?;
        Some(TensorView {
            name,
            dtype: place.dtype,
            shape: place.shape.clone(),
            bytes: &file[place.bytes.clone()],
        })
    }

    pub fn tensor_names(&self) -> impl Iterator<Item = &str> {
        self.tensors.names()
    }
}

fn alignment(metadata: &Metadata) -> Result<u64, GgufError> {
    let alignment = metadata.uint(ALIGNMENT_KEY)?.unwrap_or(ALIGNMENT_DEFAULT);
    if alignment.is_power_of_two() && alignment <= ALIGNMENT_MAX {
        return Ok(alignment);
    }
    Err(GgufError::Alignment(alignment))
}

fn refuse_split(metadata: &Metadata) -> Result<(), GgufError> {
    match metadata.uint("split.count")? {
        Some(count) if count > 1 => Err(GgufError::Split(count)),
        _ => Ok(()),
    }
}
