//! What can be wrong with a directory of safetensors files.

use crate::weights::{ConfigError, MapError};

/// Why a model directory is refused.
#[derive(Debug, thiserror::Error)]
pub enum SafetensorsError {
    #[error("cannot open a weight file")]
    Map(#[from] MapError),
    #[error("cannot use a settings file")]
    Config(#[from] ConfigError),
    #[error("neither model.safetensors nor model.safetensors.index.json is there")]
    NoWeights,
    #[error("the weights are quantised by {0:?}, which is not supported for safetensors")]
    Quantised(String),
    #[error("{file}")]
    Header { file: String, source: HeaderError },
    #[error("the index names no tensor")]
    EmptyIndex,
    #[error("the index names the file {0:?}, which is not a plain file name")]
    ShardName(String),
    #[error("the index names {count} files, at most {limit} are allowed")]
    Shards { count: usize, limit: usize },
    #[error("the index has tensor {name:?} in {file}, which does not hold it")]
    NotInShard { name: String, file: String },
}

/// Why one safetensors file is refused. Offsets of data count from the end of the header.
#[derive(Debug, thiserror::Error)]
pub enum HeaderError {
    #[error("the file has {0} bytes, too few for the length of a header")]
    NoLength(usize),
    #[error("the header claims {length} bytes, the file has {file} after its length")]
    PastEnd { length: u64, file: usize },
    #[error("the header has {length} bytes, at most {limit} are allowed")]
    TooLarge { length: u64, limit: u64 },
    #[error("the header is not a JSON object of tensors")]
    Json(#[from] serde_json::Error),
    #[error("tensor {name:?} has type {dtype}, which is not supported")]
    Type { name: String, dtype: String },
    #[error("tensor {0:?} has a dimension of 0")]
    ZeroDimension(String),
    #[error("tensor {name:?} has more elements than memory can hold: {shape:?}")]
    Elements { name: String, shape: Vec<u64> },
    #[error("tensor {name:?} has data offsets {start} to {end}, but its shape and type take {bytes} bytes")]
    Length { name: String, start: u64, end: u64, bytes: u64 },
    #[error("tensor {name:?} has data offsets {start} to {end}, past the data's end at {data}")]
    OutsideFile { name: String, start: u64, end: u64, data: usize },
    #[error("tensor {name:?} has data from {start}, where {expected} was expected: overlap or gap")]
    NotContiguous { name: String, start: usize, expected: usize },
    #[error("{surplus} bytes at offset {start} belong to no tensor")]
    Surplus { start: usize, surplus: usize },
}
