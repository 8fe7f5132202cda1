//! Texts of others where people read them: what would steer a terminal, or show a text in another order than it has.
//! What is printed here shows it, as in `\u{1b}`; what a status keeps, and others print, has spaces in its place. All
//! that people read passes here; JSON does not.

mod visible;

use self::visible::{LAYOUT, is_hidden, visible};
use crate::in_words::in_words;

/// All of it in one line.
pub(crate) fn line(text: &str) -> String {
    visible(text, &[])
}

/// Line ends and tabs stay.
pub(crate) fn lines(text: &str) -> String {
    visible(text, &LAYOUT)
}

/// With its causes.
pub(crate) fn error(error: &anyhow::Error) -> String {
    lines(&in_words(error.as_ref()))
}

/// For what is kept: each is a space. Line ends and tabs stay.
pub(crate) fn without_controls(text: &str) -> String {
    text.chars().map(|c| if is_hidden(c) && !LAYOUT.contains(&c) { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn what_steers_a_terminal_is_shown() {
        for (text, expected) in [
            ("a/b é 漢 👩‍🚀 ש", "a/b é 漢 👩‍🚀 ש"),
            ("\u{1b}]0;x\u{7}\u{7f}", "\\u{1b}]0;x\\u{7}\\u{7f}"),
            ("\u{9b}2J\u{85}", "\\u{9b}2J\\u{85}"),
            ("a\u{202e}b\u{2066}c\u{2069}", "a\\u{202e}b\\u{2066}c\\u{2069}"),
            ("a\u{200e}b\u{200f}c\u{61c}", "a\\u{200e}b\\u{200f}c\\u{61c}"),
            ("ready\rx\r\n\ty", "ready\\rx\\r\\n\\ty"),
        ] {
            assert_eq!(line(text), expected);
        }
        assert_eq!(lines("a\r\n\tb\u{1b}"), "a\\r\n\tb\\u{1b}");
    }

    #[test]
    fn what_is_kept_has_spaces_for_controls() {
        assert_eq!(without_controls("é\u{1b}[2J\u{9b}b\u{202e}\r\n\tc\u{200f}"), "é [2J b  \n\tc ");
    }

    #[test]
    fn a_cause_is_told_once() {
        let cause =
            anyhow!("no such file").context("cannot read 'x': no such file").context("cannot start\u{1b}");
        assert_eq!(error(&cause), "cannot start\\u{1b}: cannot read 'x': no such file");
        assert_eq!(error(&anyhow!("b").context("a")), "a: b");
    }
}
