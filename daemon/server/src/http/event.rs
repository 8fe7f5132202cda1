//! A server-sent event of JSON, which is one line to clients too that know more ends of lines than events have.

use std::io;

use axum::response::sse::Event;
use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::Formatter;

/// What JSON leaves as it is and Python's `str.splitlines` takes for the end of a line, by which `iter_lines` of requests and
/// httpx cut a stream.
const LINE_ENDS: [char; 3] = ['\u{85}', '\u{2028}', '\u{2029}'];

/// Most events are shorter.
const EVENT_BYTES: usize = 512;

pub(super) fn json(value: &impl Serialize) -> Event {
    Event::default().data(one_line(value))
}

fn one_line(value: &impl Serialize) -> String {
    let mut line = Vec::with_capacity(EVENT_BYTES);
    let mut serializer = Serializer::with_formatter(&mut line, OneLine);
    value.serialize(&mut serializer).expect("wire types are always JSON");
    String::from_utf8(line).expect("JSON is UTF-8")
}

/// Writes ends of lines by their numbers.
struct OneLine;

impl Formatter for OneLine {
    fn write_string_fragment<W>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()>
    where
        W: ?Sized + io::Write,
    {
        let mut written = 0;
        for (at, end) in fragment.match_indices(LINE_ENDS) {
            writer.write_all(&fragment.as_bytes()[written..at])?;
            for character in end.chars() {
                write!(writer, "\\u{:04x}", u32::from(character))?;
            }
            written = at + end.len();
        }
        writer.write_all(&fragment.as_bytes()[written..])
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_ends_a_line_to_some_client_is_escaped() {
        for (value, expected) in [
            (json!("a\u{2028}b"), r#""a\u2028b""#),
            (json!("\u{85}é\u{2029}\u{2029}"), r#""\u0085é\u2029\u2029""#),
            (json!({"\u{2028}": ["\r\n", "\u{b}\u{c}\u{1c}"]}), r#"{"\u2028":["\r\n","\u000b\f\u001c"]}"#),
        ] {
            assert_eq!(one_line(&value), expected);
        }
    }
}
