//! Plain encoders of the weight types that tiny models come in. Speed and best rounding do not matter.

use std::io;

use half::{bf16, f16};

use crate::weights::WeightType;

const BLOCK: usize = 32;

/// The bytes of `values`, whole blocks of 32 for the quantised types.
pub(super) fn encode(dtype: WeightType, values: &[f32]) -> io::Result<Vec<u8>> {
    let blocks = values.chunks(BLOCK);
    Ok(match dtype {
        WeightType::F32 => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        WeightType::F16 => values.iter().flat_map(|&value| f16::from_f32(value).to_le_bytes()).collect(),
        WeightType::BF16 => values.iter().flat_map(|&value| bf16::from_f32(value).to_le_bytes()).collect(),
        WeightType::Q8_0 => blocks.flat_map(q8_0).collect(),
        WeightType::Q4_1 => blocks.flat_map(q4_1).collect(),
        other => return Err(io::Error::other(format!("tiny models do not come in {other}"))),
    })
}

/// An f16 scale, then 32 signed bytes.
fn q8_0(block: &[f32]) -> Vec<u8> {
    let largest = block.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
    let scale = f16::from_f32(largest / 127.0);
    let digit = |value: &f32| nearest(*value, scale.to_f32()).clamp(-127.0, 127.0) as i8 as u8;
    scale.to_le_bytes().into_iter().chain(block.iter().map(digit)).collect()
}

/// An f16 scale and minimum, then 32 nibbles: the first half low, the second half high.
fn q4_1(block: &[f32]) -> Vec<u8> {
    let (least, most) =
        block.iter().fold((f32::MAX, f32::MIN), |(l, m), &value| (l.min(value), m.max(value)));
    let (scale, minimum) = (f16::from_f32((most - least) / 15.0), f16::from_f32(least));
    let digit = |value: f32| nearest(value - minimum.to_f32(), scale.to_f32()).clamp(0.0, 15.0) as u8;
    let (low, high) = block.split_at(BLOCK / 2);
    let nibbles = low.iter().zip(high).map(|(&low, &high)| digit(low) | digit(high) << 4);
    scale.to_le_bytes().into_iter().chain(minimum.to_le_bytes()).chain(nibbles).collect()
}

fn nearest(value: f32, scale: f32) -> f32 {
    if scale == 0.0 { 0.0 } else { (value / scale).round() }
}
