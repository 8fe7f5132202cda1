//! Texts of others on a terminal: what would steer it, or show a text in another order than it has, is made visible, as
//! in `\u{1b}`. All that people read passes here; JSON does not.

/// All of it in one line.
pub(super) fn line(text: &str) -> String {
    visible(text, &[])
}

/// Line ends and tabs stay.
pub(super) fn lines(text: &str) -> String {
    visible(text, &['\n', '\t'])
}

/// With its causes, but for those that the text before them tells already.
pub(super) fn error(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    lines(&text)
}

fn visible(text: &str, kept: &[char]) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match is_hidden(c) && !kept.contains(&c) {
            true => shown.extend(c.escape_default()),
            false => shown.push(c),
        }
    }
    shown
}

/// Controls of C0 and C1, and those of direction that rustc's lint `text_direction_codepoint_in_literal` knows.
fn is_hidden(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn what_steers_a_terminal_is_shown() {
        for (text, expected) in [
            ("a/b é 漢 👩‍🚀 \u{200f}ש", "a/b é 漢 👩‍🚀 \u{200f}ש"),
            ("\u{1b}]0;x\u{7}\u{7f}", "\\u{1b}]0;x\\u{7}\\u{7f}"),
            ("\u{9b}2J\u{85}", "\\u{9b}2J\\u{85}"),
            ("a\u{202e}b\u{2066}c\u{2069}", "a\\u{202e}b\\u{2066}c\\u{2069}"),
            ("ready\rx\r\n\ty", "ready\\rx\\r\\n\\ty"),
        ] {
            assert_eq!(line(text), expected);
        }
        assert_eq!(lines("a\r\n\tb\u{1b}"), "a\\r\n\tb\\u{1b}");
    }

    #[test]
    fn a_cause_is_told_once() {
        let cause =
            anyhow!("no such file").context("cannot read 'x': no such file").context("cannot start\u{1b}");
        assert_eq!(error(&cause), "cannot start\\u{1b}: cannot read 'x': no such file");
        assert_eq!(error(&anyhow!("b").context("a")), "a: b");
    }
}
