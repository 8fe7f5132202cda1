//! The header of one safetensors file: its length, then a JSON object of tensors.
//!
//! Format: the safetensors README. As there, the tensors' data must fill the rest of the file without
//! gaps or overlaps.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{HeaderError, TensorView, WeightType};

const LENGTH_BYTES: usize = 8;
/// Shards of the largest models have headers of some megabytes.
const HEADER_BYTES_MAX: u64 = 64 << 20;
const DIMENSIONS_MAX: usize = 8;
const NAME_BYTES_MAX: usize = 1024;

/// The tensors of one file.
#[derive(Clone, Debug, PartialEq)]
pub struct Header {
    tensors: BTreeMap<String, TensorEntry>,
    /// Where the data section begins in the file.
    data_start: usize,
}

/// One tensor, checked to lie inside the file.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorEntry {
    pub dtype: WeightType,
    pub shape: Vec<usize>,
    /// Relative to the data section.
    bytes: Range<usize>,
}

impl Header {
    /// Reads and checks the header of a whole file: afterwards every tensor lies inside `file`.
    pub fn parse(file: &[u8]) -> Result<Self, HeaderError> {
        let (length, rest) =
            file.split_first_chunk::<LENGTH_BYTES>().ok_or(HeaderError::NoLength(file.len()))?;
        let length = u64::from_le_bytes(*length);
        if length > HEADER_BYTES_MAX {
            return Err(HeaderError::TooLarge { length, limit: HEADER_BYTES_MAX });
        }
        let past_end = HeaderError::PastEnd { length, file: rest.len() };
        let (json, data) = rest.split_at_checked(length as usize).ok_or(past_end)?;
        let RawHeader(raw) = serde_json::from_slice(json)?;
        let mut tensors = BTreeMap::new();
        for (name, tensor) in raw {
            let entry = tensor.check(&name, data.len())?;
            tensors.insert(name, entry);
        }
        let header = Header { tensors, data_start: LENGTH_BYTES + json.len() };
        header.check_contiguous(data.len())?;
        Ok(header)
    }

    /// The tensor's view of `file`, which must be the bytes that were parsed.
    pub fn tensor<'a>(&'a self, name: &str, file: &'a [u8]) -> Option<TensorView<'a>> {
        let (name, entry) = self.tensors.get_key_value(name)?;
        let bytes = &file[self.data_start..][entry.bytes.clone()];
        Some(TensorView { name, dtype: entry.dtype, shape: entry.shape.clone(), bytes })
    }

    /// Sorted.
    pub fn tensor_names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    fn check_contiguous(&self, data_bytes: usize) -> Result<(), HeaderError> {
        let mut by_start: Vec<_> = self.tensors.iter().collect();
        by_start.sort_by_key(|(_, entry)| entry.bytes.start);
        let mut expected = 0;
        for (name, entry) in by_start {
            let start = entry.bytes.start;
            if start != expected {
                return Err(HeaderError::NotContiguous { name: name.clone(), start, expected });
            }
            expected = entry.bytes.end;
        }
        if expected != data_bytes {
            return Err(HeaderError::Surplus { start: expected, surplus: data_bytes - expected });
        }
        Ok(())
    }
}

/// The JSON object as written, names unique.
struct RawHeader(BTreeMap<String, RawTensor>);

#[derive(Deserialize)]
struct RawTensor {
    dtype: String,
    shape: RawShape,
    data_offsets: (u64, u64),
}

/// At most eight dimensions, so that a header cannot ask for more memory than its own size.
struct RawShape(Vec<u64>);

impl RawTensor {
    fn check(self, name: &str, data_bytes: usize) -> Result<TensorEntry, HeaderError> {
        let RawTensor { dtype, shape: RawShape(shape), data_offsets: (start, end) } = self;
        let dtype = match dtype.as_str() {
            "F32" => WeightType::F32,
            "F16" => WeightType::F16,
            "BF16" => WeightType::BF16,
            _ => return Err(HeaderError::Type { name: name.into(), dtype }),
        };
        if shape.contains(&0) {
            return Err(HeaderError::ZeroDimension(name.into()));
        }
        let bytes = shape.iter().try_fold(dtype.block_bytes() as u64, |product, &n| product.checked_mul(n));
        let Some(bytes) = bytes else {
            return Err(HeaderError::Elements { name: name.into(), shape });
        };
        if end < start || end - start != bytes {
            return Err(HeaderError::Length { name: name.into(), start, end, bytes });
        }
        if end > data_bytes as u64 {
            return Err(HeaderError::OutsideFile { name: name.into(), start, end, data: data_bytes });
        }
        // Each dimension is at most the bytes of the file.
        let shape = shape.into_iter().map(|dimension| dimension as usize).collect();
        Ok(TensorEntry { dtype, shape, bytes: start as usize..end as usize })
    }
}

impl<'de> Deserialize<'de> for RawHeader {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Tensors;

        impl<'de> Visitor<'de> for Tensors {
            type Value = RawHeader;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawHeader, A::Error> {
                let mut tensors = BTreeMap::new();
                while let Some(name) = map.next_key::<String>()? {
                    if name == "__metadata__" {
                        map.next_value::<IgnoredAny>()?;
                        continue;
                    }
                    if name.is_empty() || name.len() > NAME_BYTES_MAX {
                        let length = name.len();
                        return Err(A::Error::custom(format_args!("a tensor's name has {length} bytes")));
                    }
                    let tensor = map
                        .next_value::<RawTensor>()
                        .map_err(|error| A::Error::custom(format_args!("tensor {name:?}: {error}")))?;
                    if tensors.contains_key(&name) {
                        return Err(A::Error::custom(format_args!("tensor {name:?} occurs twice")));
                    }
                    tensors.insert(name, tensor);
                }
                Ok(RawHeader(tensors))
            }
        }

        deserializer.deserialize_map(Tensors)
    }
}

impl<'de> Deserialize<'de> for RawShape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Dimensions;

        impl<'de> Visitor<'de> for Dimensions {
            type Value = RawShape;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a list of at most {DIMENSIONS_MAX} dimensions")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<RawShape, A::Error> {
                let mut shape = Vec::with_capacity(DIMENSIONS_MAX);
                while let Some(dimension) = list.next_element()? {
                    if shape.len() == DIMENSIONS_MAX {
                        return Err(A::Error::invalid_length(DIMENSIONS_MAX + 1, &self));
                    }
                    shape.push(dimension);
                }
                Ok(RawShape(shape))
            }
        }

        deserializer.deserialize_seq(Dimensions)
    }
}
