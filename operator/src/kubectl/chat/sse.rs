//! Server-sent events: the data lines of a body that comes in pieces.

use anyhow::{Result, bail};

/// A line that is longer is no token's.
const LINE_BYTES_MAX: usize = 1 << 20;

#[derive(Debug, Default)]
pub(super) struct SseLines {
    /// Bytes after the last line end.
    rest: Vec<u8>,
}

impl SseLines {
    /// The data of the lines that `bytes` completes.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<Vec<String>> {
        self.rest.extend_from_slice(bytes);
        let end = self.rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        if self.rest.len() - end > LINE_BYTES_MAX {
            bail!("the answer has a line of more than {LINE_BYTES_MAX} bytes");
        }
        let whole: Vec<u8> = self.rest.drain(..end).collect();
        let text = String::from_utf8_lossy(&whole);
        let data = text.lines().filter_map(|line| line.strip_prefix("data:"));
        Ok(data.map(|data| data.trim().to_owned()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_comes_whole_however_the_body_is_cut() {
        let body = ": ping\r\nevent: x\r\ndata: {\"é\": 1}\r\n\r\ndata:two\n\ndata: [DONE]\n\n".as_bytes();
        for size in 1..body.len() {
            let mut lines = SseLines::default();
            let found: Vec<String> = body.chunks(size).flat_map(|piece| lines.push(piece).unwrap()).collect();
            assert_eq!(found, ["{\"é\": 1}", "two", "[DONE]"], "pieces of {size} bytes");
        }
    }

    #[test]
    fn endless_lines_are_refused() {
        let mut lines = SseLines::default();
        assert!(lines.push(&vec![b'x'; LINE_BYTES_MAX]).unwrap().is_empty());
        assert!(lines.push(b"x").is_err());
    }
}
