//! Server-sent events: the data lines of a body that comes in pieces.

/// A line longer than this is no token's.
const LINE_BYTES_MAX: usize = 1 << 20;

#[derive(Debug, Default)]
pub(super) struct SseLines {
    /// Bytes after the last line end.
    rest: Vec<u8>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct LineTooLong;

impl SseLines {
    /// The data of the lines that `bytes` completes.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<Vec<String>, LineTooLong> {
        self.rest.extend_from_slice(bytes);
        let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') else {
            return if self.rest.len() > LINE_BYTES_MAX { Err(LineTooLong) } else { Ok(Vec::new()) };
        };
        let whole: Vec<u8> = self.rest.drain(..=end).collect();
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
        assert_eq!(lines.push(&vec![b'x'; LINE_BYTES_MAX]), Ok(vec![]));
        assert_eq!(lines.push(b"x"), Err(LineTooLong));
    }
}
