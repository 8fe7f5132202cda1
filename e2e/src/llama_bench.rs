//! Reports of llama.cpp's `llama-bench -o json`.

use anyhow::{Context, Result};
use serde_json::Value;

/// One measurement.
#[derive(Debug, PartialEq)]
pub(crate) struct Line {
    pub(crate) prompt_tokens: u64,
    pub(crate) generated_tokens: u64,
    pub(crate) depth: u64,
    pub(crate) flash: bool,
    /// Tokens a second.
    pub(crate) rate: f64,
    pub(crate) commit: String,
}

/// # Errors
/// It is no such report, or a line lacks its work or rate.
pub(crate) fn parse(json: &str) -> Result<Vec<Line>> {
    let lines: Vec<Value> = serde_json::from_str(json).context("the report of llama-bench")?;
    let line = |line: &Value| -> Result<Line> {
        let number = |name: &str| line[name].as_u64().with_context(|| format!("llama-bench tells no {name}"));
        Ok(Line {
            prompt_tokens: number("n_prompt")?,
            generated_tokens: number("n_gen")?,
            depth: number("n_depth").unwrap_or(0),
            flash: line["flash_attn"] == 1 || line["flash_attn"] == true,
            rate: line["avg_ts"].as_f64().context("llama-bench tells no avg_ts")?,
            commit: line["build_commit"].as_str().unwrap_or("unknown").to_owned(),
        })
    };
    lines.iter().map(line).collect()
}
