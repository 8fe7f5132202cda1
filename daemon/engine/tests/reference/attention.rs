//! Attention over all tokens of a text by matrix products, since plain loops over thousands of them take an hour.

use anyhow::Result;
use candle_core::{Device, Tensor};

use super::Config;

/// Rows whose scores are in memory at once: those of thousands take hundreds of megabytes, and half are not used.
const ROWS: usize = 256;

/// Every query over the keys up to its own position.
pub(super) fn attend(
    config: &Config,
    queries: &[Vec<f32>],
    keys: &[Vec<f32>],
    values: &[Vec<f32>],
) -> Result<Vec<Vec<f32>>> {
    let Config { heads, kv_heads, head_dim, .. } = *config;
    let of_head = |rows: &[Vec<f32>], head: usize| {
        let numbers: Vec<f32> =
            rows.iter().flat_map(|row| &row[head * head_dim..][..head_dim]).copied().collect();
        Tensor::from_vec(numbers, (rows.len(), head_dim), &Device::Cpu)
    };
    let mut attended = vec![Vec::with_capacity(heads * head_dim); queries.len()];
    for head in 0..heads {
        let kv_head = head / (heads / kv_heads);
        let (keys, values) = (of_head(keys, kv_head)?.t()?, of_head(values, kv_head)?);
        for (piece, rows) in attended.chunks_mut(ROWS).enumerate() {
            let first = piece * ROWS;
            let seen = first + rows.len();
            let queries = of_head(&queries[first..seen], head)?;
            let mut scores: Vec<Vec<f32>> = queries.matmul(&keys.narrow(1, 0, seen)?)?.to_vec2()?;
            for (row, scores) in scores.iter_mut().enumerate() {
                weigh(scores, first + row, (head_dim as f32).sqrt());
            }
            let weights = Tensor::from_vec(scores.concat(), (rows.len(), seen), &Device::Cpu)?;
            let out: Vec<Vec<f32>> = weights.matmul(&values.narrow(0, 0, seen)?)?.to_vec2()?;
            rows.iter_mut().zip(out).for_each(|(row, out)| row.extend(out));
        }
    }
    Ok(attended)
}

/// The softmax of a row's scores over the keys up to its own position.
fn weigh(scores: &mut [f32], position: usize, scale: f32) {
    let (seen, later) = scores.split_at_mut(position + 1);
    let largest = seen.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    seen.iter_mut().for_each(|score| *score = ((*score - largest) / scale).exp());
    let total: f32 = seen.iter().sum();
    seen.iter_mut().for_each(|weight| *weight /= total);
    later.fill(0.0);
}
