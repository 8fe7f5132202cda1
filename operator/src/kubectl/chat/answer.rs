//! An answer as it comes: tokens are printed, errors are the daemon's own words.

use std::io::{ErrorKind, Write};

use anyhow::{Context, Result, bail};
use http_body_util::{BodyExt, Limited};
use hyper::Response;
use hyper::body::Incoming;
use serde_json::Value;

use super::super::terminal;
use super::sse::SseLines;

/// Of an error's body.
const ERROR_BYTES_MAX: usize = 1 << 16;

/// Prints the answer, and returns it.
pub(super) async fn read(response: Response<Incoming>, output: &mut impl Write) -> Result<String> {
    let status = response.status();
    if !status.is_success() {
        let body = Limited::new(response.into_body(), ERROR_BYTES_MAX).collect().await;
        let text =
            body.map(|body| String::from_utf8_lossy(&body.to_bytes()).into_owned()).unwrap_or_default();
        bail!("the daemon answers {status}: {}", error_message(&text));
    }
    let (mut body, mut lines, mut answer) = (response.into_body(), SseLines::default(), String::new());
    while let Some(frame) = body.frame().await {
        let frame = frame.context("the answer broke off")?;
        let Ok(bytes) = frame.into_data() else { continue };
        for data in lines.push(&bytes)? {
            if data == "[DONE]" {
                print(output, "\n")?;
                return Ok(answer);
            }
            let text = text_of(&data)?;
            print(output, &terminal::lines(&text))?;
            answer.push_str(&text);
        }
    }
    bail!("the answer broke off: it has no end")
}

fn text_of(data: &str) -> Result<String> {
    let chunk: Value =
        serde_json::from_str(data).with_context(|| format!("the answer is no chat: {data:.200}"))?;
    if chunk.get("error").is_some_and(|error| !error.is_null()) {
        bail!("the answer broke off: {}", error_message(data));
    }
    Ok(chunk["choices"][0]["delta"]["content"].as_str().unwrap_or_default().to_owned())
}

/// Whoever reads may leave.
fn print(output: &mut impl Write, text: &str) -> Result<()> {
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
        written => written.context("cannot write"),
    }
}

/// The message of an error body, or its first line.
fn error_message(text: &str) -> String {
    let value: Value = serde_json::from_str(text).unwrap_or_default();
    let message = value["error"]["message"].as_str().unwrap_or(text);
    message.lines().next().unwrap_or_default().chars().take(500).collect()
}
