//! The tensor descriptions of a GGUF file, and where in the file each tensor's bytes lie.

use std::collections::BTreeMap;
use std::ops::Range;

use super::cursor::Cursor;
use super::{GgufError, TensorProblem};
use crate::weights::WeightType;

/// Real files have up to a few thousand.
const TENSORS_MAX: u64 = 1 << 18;
const NAME_BYTES_MAX: usize = 1024;
const DIMENSIONS_MAX: u32 = 4;

/// Every tensor of a file by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Tensors {
    places: BTreeMap<String, TensorPlace>,
}

/// One tensor, checked to lie inside the file.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorPlace {
    pub dtype: WeightType,
    /// Row-major, rows first: the reverse of the file's order.
    pub shape: Vec<usize>,
    /// Where in the file.
    pub bytes: Range<usize>,
}

/// A description as it stands in the file.
struct Description<'a> {
    name: &'a str,
    /// Where the description begins.
    offset: usize,
    dimensions: Vec<u64>,
    type_id: u32,
    /// Where the data begins, from the start of the data section.
    start: u64,
}

impl Tensors {
    /// Reads `count` descriptions; the data section follows them at the next multiple of `alignment`.
    pub(super) fn read(
        cursor: &mut Cursor<'_>,
        count: u64,
        alignment: u64,
        file_bytes: usize,
    ) -> Result<Self, GgufError> {
        if count > TENSORS_MAX {
            return Err(GgufError::Count { what: "tensors", count, limit: TENSORS_MAX });
        }
        cursor.set_what("a tensor description");
        let mut descriptions = Vec::new();
        for _ in 0..count {
            descriptions.push(Description::read(cursor)?);
        }
        let data =
            Data { start: (cursor.position() as u64).next_multiple_of(alignment), alignment, file_bytes };
        let mut places = BTreeMap::new();
        for description in &descriptions {
            let place = data.place(description).map_err(|problem| description.error(problem))?;
            if places.insert(description.name.to_owned(), place).is_some() {
                return Err(description.error(TensorProblem::Duplicate));
            }
        }
        refuse_overlaps(&descriptions, &places)?;
        Ok(Tensors { places })
    }

    pub(super) fn get(&self, name: &str) -> Option<(&str, &TensorPlace)> {
        self.places.get_key_value(name).map(|(name, place)| (name.as_str(), place))
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.places.keys().map(String::as_str)
    }
}

impl<'a> Description<'a> {
    fn read(cursor: &mut Cursor<'a>) -> Result<Self, GgufError> {
        let offset = cursor.position();
        let name = cursor.str()?;
        let problem = |problem| Err(GgufError::Tensor { name: shortened(name), offset, problem });
        if name.is_empty() || name.len() > NAME_BYTES_MAX {
            return problem(TensorProblem::NameLength { length: name.len(), limit: NAME_BYTES_MAX });
        }
        let dimension_count = cursor.u32()?;
        if !(1..=DIMENSIONS_MAX).contains(&dimension_count) {
            return problem(TensorProblem::Dimensions(dimension_count));
        }
        let dimensions = (0..dimension_count).map(|_| cursor.u64()).collect::<Result<_, _>>()?;
        Ok(Description { name, offset, dimensions, type_id: cursor.u32()?, start: cursor.u64()? })
    }

    fn error(&self, problem: TensorProblem) -> GgufError {
        GgufError::Tensor { name: self.name.to_owned(), offset: self.offset, problem }
    }
}

/// The section after the descriptions.
struct Data {
    start: u64,
    alignment: u64,
    file_bytes: usize,
}

impl Data {
    fn place(&self, description: &Description<'_>) -> Result<TensorPlace, TensorProblem> {
        let dtype = WeightType::from_ggml_id(description.type_id)
            .ok_or_else(|| TensorProblem::Type(type_name(description.type_id)))?;
        let bytes = data_bytes(dtype, &description.dimensions)?;
        if !description.start.is_multiple_of(self.alignment) {
            return Err(TensorProblem::Misaligned { start: description.start, alignment: self.alignment });
        }
        let start = self.start.saturating_add(description.start);
        let end = start.checked_add(bytes).filter(|&end| end <= self.file_bytes as u64);
        let Some(end) = end else {
            return Err(TensorProblem::OutsideFile { start, bytes, file: self.file_bytes });
        };
        // Both are at most the file's length, and each dimension at most twice its bytes.
        let shape = description.dimensions.iter().rev().map(|&dimension| dimension as usize).collect();
        Ok(TensorPlace { dtype, shape, bytes: start as usize..end as usize })
    }
}

fn data_bytes(dtype: WeightType, dimensions: &[u64]) -> Result<u64, TensorProblem> {
    if dimensions.contains(&0) {
        return Err(TensorProblem::ZeroDimension);
    }
    let (columns, block) = (dimensions[0], dtype.block_elements());
    if !columns.is_multiple_of(block as u64) {
        return Err(TensorProblem::PartialBlock { columns, block, dtype: dtype.to_string() });
    }
    let too_large = || TensorProblem::TooLarge(dimensions.to_vec());
    let elements = dimensions.iter().try_fold(1u64, |product, &dimension| product.checked_mul(dimension));
    let blocks = elements.ok_or_else(too_large)? / block as u64;
    let bytes = blocks.checked_mul(dtype.block_bytes() as u64);
    bytes.filter(|&bytes| i64::try_from(bytes).is_ok()).ok_or_else(too_large)
}

fn refuse_overlaps(
    descriptions: &[Description<'_>],
    places: &BTreeMap<String, TensorPlace>,
) -> Result<(), GgufError> {
    let mut by_start: Vec<_> = descriptions.iter().map(|one| (one, &places[one.name].bytes)).collect();
    by_start.sort_by_key(|(_, bytes)| bytes.start);
    for pair in by_start.windows(2) {
        let ((before, earlier), (description, later)) = (&pair[0], &pair[1]);
        if later.start < earlier.end {
            let problem = TensorProblem::Overlap { start: later.start, other: before.name.to_owned() };
            return Err(description.error(problem));
        }
    }
    Ok(())
}

/// A hostile name in a message of bearable length.
fn shortened(name: &str) -> String {
    name.chars().take(64).collect()
}

/// Names of ggml types that exist but are not built, so that a message says more than a number.
fn type_name(id: u32) -> String {
    let name = match id {
        9 => "Q8_1",
        15 => "Q8_K",
        16 => "IQ2_XXS",
        17 => "IQ2_XS",
        18 => "IQ3_XXS",
        19 => "IQ1_S",
        20 => "IQ4_NL",
        21 => "IQ3_S",
        22 => "IQ2_S",
        23 => "IQ4_XS",
        24 => "I8",
        25 => "I16",
        26 => "I32",
        27 => "I64",
        28 => "F64",
        29 => "IQ1_M",
        34 => "TQ1_0",
        35 => "TQ2_0",
        39 => "MXFP4",
        _ => return format!("number {id}"),
    };
    name.to_owned()
}
