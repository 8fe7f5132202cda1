//! A streamed answer: when its pieces came, and how many. The server is not trusted: what is far more than was asked for
//! is not read on, as it might never end.

use std::time::Duration;

use reqwest::Response;
use serde_json::Value;
use tokio::time::Instant;

use super::super::sse::SseLines;
use super::{Answer, RequestError, TokensBy, error_message};

/// Of a whole stream.
const STREAM_BYTES_MAX: usize = 64 << 20;
/// Pieces of text that are read of an answer: generous, as some servers send characters, or count otherwise.
const PIECES_PER_TOKEN_MAX: u32 = 16;
const PIECES_MORE_MAX: u32 = 1024;

/// Reads an answer of at most `tokens_max` tokens to its end.
pub(super) async fn read_answer(
    mut response: Response,
    due: Instant,
    tokens_max: u32,
) -> Result<Answer, RequestError> {
    let mut progress = Progress { tokens_max, ..Progress::default() };
    while let Some(bytes) = response.chunk().await.map_err(RequestError::of)? {
        progress.read(&bytes, due.elapsed())?;
    }
    progress.end(due.elapsed())
}

/// What a stream has told so far.
#[derive(Default)]
struct Progress {
    tokens_max: u32,
    lines: SseLines,
    bytes_read: usize,
    first_token: Option<Duration>,
    last_token: Duration,
    gaps: Vec<Duration>,
    pieces: u32,
    /// Tokens of the prompt and of the answer.
    usage: Option<(u32, u32)>,
    cached_tokens: Option<u32>,
    finished: bool,
}

impl Progress {
    fn read(&mut self, bytes: &[u8], now: Duration) -> Result<(), RequestError> {
        let data =
            self.lines.push(bytes).map_err(|_| RequestError::NotAStream("an endless line".to_owned()))?;
        data.iter().try_for_each(|data| self.note(data, now))?;
        self.bytes_read += bytes.len();
        let pieces_max = self.tokens_max.saturating_mul(PIECES_PER_TOKEN_MAX).saturating_add(PIECES_MORE_MAX);
        if self.pieces > pieces_max || self.bytes_read > STREAM_BYTES_MAX {
            return Err(RequestError::NotAStream("far more than was asked for".to_owned()));
        }
        Ok(())
    }

    fn note(&mut self, data: &str, now: Duration) -> Result<(), RequestError> {
        if data == "[DONE]" {
            self.finished = true;
            return Ok(());
        }
        let chunk: Value = ostro_json::from_slice(data.as_bytes())
            .map_err(|_| RequestError::NotAStream(data.chars().take(120).collect()))?;
        if chunk.get("error").is_some_and(|error| !error.is_null()) {
            return Err(RequestError::InStream(error_message(data)));
        }
        let choice = &chunk["choices"][0];
        let delta = &choice["delta"];
        // Servers name reasoning in one way or the other.
        let texts = [&delta["content"], &delta["reasoning_content"], &delta["reasoning"], &choice["text"]];
        if texts.into_iter().any(|text| text.as_str().is_some_and(|text| !text.is_empty())) {
            match self.first_token {
                None => self.first_token = Some(now),
                Some(_) => self.gaps.push(now - self.last_token),
            }
            self.last_token = now;
            self.pieces += 1;
        }
        self.finished |= choice["finish_reason"].is_string();
        let count = |value: &Value| value.as_u64().map(|count| u32::try_from(count).unwrap_or(u32::MAX));
        let usage = &chunk["usage"];
        if let (Some(prompt), Some(answer)) =
            (count(&usage["prompt_tokens"]), count(&usage["completion_tokens"]))
        {
            self.usage = Some((prompt, answer));
            self.cached_tokens = count(&usage["prompt_tokens_details"]["cached_tokens"]);
        }
        Ok(())
    }

    fn end(self, end: Duration) -> Result<Answer, RequestError> {
        if !self.finished {
            return Err(RequestError::Cut);
        }
        let first_token = self.first_token.ok_or(RequestError::Empty)?;
        let (prompt_tokens, counted) = self.usage.unzip();
        let (tokens, tokens_by) = match counted.filter(|counted| *counted <= self.tokens_max) {
            Some(counted) => (counted, TokensBy::Usage),
            None => (self.pieces, TokensBy::Pieces),
        };
        let Progress { last_token, gaps, cached_tokens, .. } = self;
        Ok(Answer { first_token, last_token, gaps, end, tokens, tokens_by, prompt_tokens, cached_tokens })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIECE: &str = r#"{"choices":[{"delta":{"content":" x"},"finish_reason":null}]}"#;
    const MIB: usize = 1 << 20;

    fn of_six_tokens() -> Progress {
        Progress { tokens_max: 6, ..Progress::default() }
    }

    fn read(progress: &mut Progress, data: &str) -> Result<(), String> {
        let read = progress.read(format!("data: {data}\n\n").as_bytes(), Duration::ZERO);
        read.map_err(|error| format!("{error}: {}", error.detail().unwrap_or_default()))
    }

    const TOO_MUCH: &str = "not a stream of completions: far more than was asked for";

    #[test]
    fn far_more_pieces_than_were_asked_for_are_refused() {
        let mut progress = of_six_tokens();
        for _ in 0..6 * 16 + 1024 {
            assert_eq!(read(&mut progress, PIECE), Ok(()));
        }
        assert_eq!(read(&mut progress, PIECE), Err(TOO_MUCH.to_owned()));
    }

    #[test]
    fn far_more_bytes_than_were_asked_for_are_refused() {
        let mut progress = of_six_tokens();
        let comment = [&b":".repeat(MIB - 1)[..], b"\n"].concat();
        for _ in 0..64 {
            assert!(progress.read(&comment, Duration::ZERO).is_ok());
        }
        assert_eq!(read(&mut progress, PIECE), Err(TOO_MUCH.to_owned()));
    }

    #[test]
    fn usage_beyond_what_was_asked_for_is_not_believed() {
        for (counted, expected) in
            [(6, (6, TokensBy::Usage)), (7, (2, TokensBy::Pieces)), (u64::MAX, (2, TokensBy::Pieces))]
        {
            let mut progress = of_six_tokens();
            let usage =
                format!(r#"{{"choices":[],"usage":{{"prompt_tokens":9,"completion_tokens":{counted}}}}}"#);
            for data in [PIECE, PIECE, usage.as_str(), "[DONE]"] {
                assert_eq!(read(&mut progress, data), Ok(()));
            }
            let answer = progress.end(Duration::ZERO).unwrap();
            assert_eq!((answer.tokens, answer.tokens_by), expected, "{counted}");
            assert_eq!(answer.prompt_tokens, Some(9));
        }
    }

    #[test]
    fn reasoning_is_text_by_either_name() {
        for name in ["reasoning_content", "reasoning"] {
            let mut progress = of_six_tokens();
            let thought = PIECE.replace("content", name);
            for (ms, data) in [(20, thought.as_str()), (30, PIECE), (40, "[DONE]")] {
                progress.read(format!("data: {data}\n\n").as_bytes(), Duration::from_millis(ms)).unwrap();
            }
            let answer = progress.end(Duration::from_millis(40)).unwrap();
            assert_eq!((answer.first_token.as_millis(), answer.tokens), (20, 2), "{name}");
        }
    }

    #[test]
    fn gaps_are_those_between_pieces_of_text() {
        let mut progress = of_six_tokens();
        let role = r#"{"choices":[{"delta":{"role":"assistant","content":""}}]}"#;
        let mut at = |ms, events: &[&str]| {
            let body: String = events.iter().map(|data| format!("data: {data}\n\n")).collect();
            progress.read(body.as_bytes(), Duration::from_millis(ms)).unwrap();
        };
        at(10, &[role]);
        at(30, &[PIECE]);
        // A stall, and what was held back with the piece that ends it.
        at(530, &[PIECE, PIECE]);
        at(540, &[PIECE]);
        at(900, &["[DONE]"]);
        let answer = progress.end(Duration::from_millis(900)).unwrap();
        let gaps: Vec<u128> = answer.gaps.iter().map(Duration::as_millis).collect();
        assert_eq!(gaps, [500, 0, 10]);
        assert_eq!((answer.first_token.as_millis(), answer.last_token.as_millis()), (30, 540));
    }

    /// Nested, it would overflow the stack.
    #[test]
    fn json_inside_a_private_key_is_not_read() {
        let data = r#"{"$serde_json::private::RawValue":"{}"}"#;
        let expected = format!("not a stream of completions: {data}");
        assert_eq!(read(&mut of_six_tokens(), data), Err(expected));
    }
}
