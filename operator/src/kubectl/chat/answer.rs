//! An answer as it comes: tokens are printed, errors are the daemon's own words.

use std::io::{ErrorKind, Write};

use anyhow::{Context, Result, bail};
use http_body_util::{BodyExt, Limited};
use hyper::Response;
use hyper::body::Incoming;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::sse::SseLines;
use crate::terminal;

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
    let chunk: Chunk =
        serde_json::from_str(data).with_context(|| format!("the answer is no chat: {data:.200}"))?;
    if chunk.error.is_some() {
        bail!("the answer broke off: {}", error_message(data));
    }
    let first = chunk.choices.unwrap_or_default().into_iter().next();
    Ok(first.and_then(|choice| choice.delta?.content).unwrap_or_default())
}

/// Types, since a stranger's JSON may be nested in itself, which values would follow.
#[derive(Deserialize)]
struct Chunk {
    error: Option<IgnoredAny>,
    choices: Option<Vec<ChunkChoice>>,
}

#[derive(Deserialize)]
struct ChunkChoice {
    delta: Option<Delta>,
}

#[derive(Deserialize)]
struct Delta {
    content: Option<String>,
}

#[derive(Deserialize)]
struct ErrorBody {
    error: ErrorText,
}

#[derive(Deserialize)]
struct ErrorText {
    message: String,
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
    let body: Option<ErrorBody> = serde_json::from_str(text).ok();
    let message = body.as_ref().map_or(text, |body| &body.error.message);
    message.lines().next().unwrap_or_default().chars().take(500).collect()
}
