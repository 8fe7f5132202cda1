//! Requests whose answers repeat most of the prompt: code with a change to be made.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::http;

/// Forty lines each.
const CODE: [&str; 3] = [
    include_str!("fixtures/code_to_edit_1.txt"),
    include_str!("fixtures/code_to_edit_2.txt"),
    include_str!("fixtures/code_to_edit_3.txt"),
];
const ANSWER_TOKENS: u32 = 256;

/// Milliseconds for each token of the answers, prompts included.
pub(super) fn token_ms(base: &str) -> Result<f64> {
    let (mut seconds, mut tokens) = (0.0, 0);
    for code in CODE {
        let start = Instant::now();
        tokens += ask(base, code)?;
        seconds += start.elapsed().as_secs_f64();
    }
    ensure!(tokens > 0, "no request was answered with a token");
    Ok(seconds * 1e3 / tokens as f64)
}

/// The tokens of one answer.
fn ask(base: &str, code: &str) -> Result<u64> {
    let task =
        "Repeat this Rust code exactly, but call the first function `renamed`. Answer with the code only.";
    let request = json!({
        "messages": [{ "role": "user", "content": format!("{task}\n```rust\n{code}```") }],
        "max_tokens": ANSWER_TOKENS,
        "temperature": 0,
    });
    let answer = http::post(&format!("{base}/v1/chat/completions")).send_json(&request);
    let answer: Value = answer.context("a code edit")?.body_mut().read_json()?;
    answer["usage"]["completion_tokens"].as_u64().context("the answer tells no usage")
}
