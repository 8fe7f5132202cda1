//! Texts of others that are too long for where they are kept. Such a text begins with what is wrong and ends with what to
//! do about it, so that its middle is left out.

use std::borrow::Cow;

const GAP: &str = "…";

/// At most `bytes_max` bytes of `text`, which are at least those of an ellipsis: half of them of its beginning, half of its
/// end, in whole characters.
pub(crate) fn shortened(text: &str, bytes_max: usize) -> Cow<'_, str> {
    if text.len() <= bytes_max {
        return text.into();
    }
    let half = bytes_max.saturating_sub(GAP.len()) / 2;
    let beginning = &text[..text.floor_char_boundary(half)];
    let end = &text[text.ceil_char_boundary(text.len() - half)..];
    format!("{beginning}{GAP}{end}").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_is_left_out_between_characters() {
        for (text, bytes_max, expected) in [
            ("", 3, ""),
            ("abcdefghij", 10, "abcdefghij"),
            ("abcdefghijk", 10, "abc…ijk"),
            ("abcdefghijkl", 9, "abc…jkl"),
            ("ééééééé", 10, "é…é"),
            ("漢字漢字", 11, "漢…字"),
            ("👩👩👩", 11, "👩…👩"),
            ("👩👩👩", 10, "…"),
            ("abcd", 3, "…"),
        ] {
            assert_eq!(shortened(text, bytes_max), expected, "{text} in {bytes_max}");
        }
    }
}
