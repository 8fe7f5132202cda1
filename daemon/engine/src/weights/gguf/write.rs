//! Writes GGUF version 3 files: for tiny models, converters and hostile test files.
//!
//! Trusts its caller: it writes what it is given.

use std::io::{self, Write};

use super::metadata::{TYPE_ARRAY, TYPE_BOOL, TYPE_STRING};
use super::value::{Array, Value};
use super::{ALIGNMENT_DEFAULT, ALIGNMENT_KEY, MAGIC, Metadata};
use crate::weights::{TensorView, WeightType};

/// A tensor to write.
#[derive(Clone, Debug)]
pub struct TensorData {
    pub name: String,
    pub dtype: WeightType,
    /// Row-major, rows first.
    pub shape: Vec<usize>,
    pub bytes: Vec<u8>,
}

impl From<TensorView<'_>> for TensorData {
    fn from(tensor: TensorView<'_>) -> Self {
        let TensorView { name, dtype, shape, bytes } = tensor;
        TensorData { name: name.to_owned(), dtype, shape, bytes: bytes.to_vec() }
    }
}

/// A tensor without its bytes.
#[derive(Clone, Debug)]
pub struct TensorHead {
    pub name: String,
    pub dtype: WeightType,
    /// Row-major, rows first.
    pub shape: Vec<usize>,
    /// Of its data.
    pub bytes: u64,
}

/// Writes a whole file. The alignment is the metadata's `general.alignment`, or the format's 32.
pub fn write(out: &mut impl Write, metadata: &Metadata, tensors: &[TensorData]) -> io::Result<()> {
    let heads: Vec<TensorHead> = tensors
        .iter()
        .map(|tensor| {
            let TensorData { name, dtype, shape, bytes } = tensor;
            TensorHead { name: name.clone(), dtype: *dtype, shape: shape.clone(), bytes: bytes.len() as u64 }
        })
        .collect();
    write_streamed(out, metadata, &heads, |index, out| out.write_all(&tensors[index].bytes))
}

/// As `write`, for tensors larger than memory: `data` writes those of each tensor in turn.
pub fn write_streamed<W: Write>(
    out: &mut W,
    metadata: &Metadata,
    tensors: &[TensorHead],
    mut data: impl FnMut(usize, &mut W) -> io::Result<()>,
) -> io::Result<()> {
    let alignment = metadata.uint(ALIGNMENT_KEY).map_err(io::Error::other)?.unwrap_or(ALIGNMENT_DEFAULT);
    let mut bytes = MAGIC.to_vec();
    bytes.extend(3u32.to_le_bytes());
    bytes.extend((tensors.len() as u64).to_le_bytes());
    bytes.extend((metadata.iter().count() as u64).to_le_bytes());
    for (key, value) in metadata.iter() {
        put_str(&mut bytes, key);
        put_value(&mut bytes, value);
    }
    let mut start = 0u64;
    for tensor in tensors {
        put_str(&mut bytes, &tensor.name);
        bytes.extend((tensor.shape.len() as u32).to_le_bytes());
        tensor.shape.iter().rev().for_each(|&dimension| bytes.extend((dimension as u64).to_le_bytes()));
        bytes.extend(tensor.dtype.ggml_id().to_le_bytes());
        bytes.extend(start.to_le_bytes());
        start = (start + tensor.bytes).next_multiple_of(alignment);
    }
    let mut end = bytes.len() as u64;
    out.write_all(&bytes)?;
    for (index, tensor) in tensors.iter().enumerate() {
        let padding = end.next_multiple_of(alignment) - end;
        out.write_all(&vec![0; padding as usize])?;
        data(index, out)?;
        end += padding + tensor.bytes;
    }
    Ok(())
}

fn put_str(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend((text.len() as u64).to_le_bytes());
    bytes.extend(text.as_bytes());
}

fn put_value(bytes: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Number(number) => {
            let mut encoded = Vec::new();
            let number_type = number.encode(&mut encoded);
            bytes.extend(number_type.id().to_le_bytes());
            bytes.extend(encoded);
        }
        Value::Bool(value) => {
            bytes.extend(TYPE_BOOL.to_le_bytes());
            bytes.push(u8::from(*value));
        }
        Value::String(value) => {
            bytes.extend(TYPE_STRING.to_le_bytes());
            put_str(bytes, value);
        }
        Value::Array(array) => {
            bytes.extend(TYPE_ARRAY.to_le_bytes());
            put_array(bytes, array);
        }
    }
}

fn put_array(bytes: &mut Vec<u8>, array: &Array) {
    let mut head = |id: u32, count: usize| {
        bytes.extend(id.to_le_bytes());
        bytes.extend((count as u64).to_le_bytes());
    };
    match array {
        Array::Numbers(numbers) => {
            head(numbers.number_type().id(), numbers.iter().count());
            bytes.extend(numbers.bytes());
        }
        Array::Bools(values) => {
            head(TYPE_BOOL, values.len());
            bytes.extend(values.iter().map(|&value| u8::from(value)));
        }
        Array::Strings(strings) => {
            head(TYPE_STRING, strings.len());
            strings.iter().for_each(|string| put_str(bytes, string));
        }
    }
}
