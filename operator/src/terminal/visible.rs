//! Characters that would steer a terminal, or show a text in another order than it has. `ostro` takes this file in too.

/// Of texts of several lines.
pub(crate) const LAYOUT: [char; 2] = ['\n', '\t'];

/// With each of them, but for those `kept`, as in `\u{1b}`.
pub(crate) fn visible(text: &str, kept: &[char]) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match is_hidden(c) && !kept.contains(&c) {
            true => shown.extend(c.escape_default()),
            false => shown.push(c),
        }
    }
    shown
}

/// Controls of C0 and C1, and those of direction: all that have Unicode's property `Bidi_Control`.
pub(crate) fn is_hidden(c: char) -> bool {
    let is_of_direction =
        matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c.is_control() || is_of_direction
}
