//! What users write stays text: `<|im_end|>` in a message must not end it.
//!
//! Before a conversation is templated, spelled-out special tokens in its strings become markers that no template
//! touches; afterwards each marker is encoded as the plain text it stands for. Only the template's own special tokens
//! become real ones.

use std::borrow::Cow;

use aho_corasick::{AhoCorasick, BuildError, MatchKind};
use serde_json::{Map, Value as Json};

/// A noncharacter: no text has a use for it. Met in a text, it is marked itself.
const MARK: char = '\u{FDD0}';
/// Behind a mark, the character for text 0: private use, with room for 65,000 texts.
const FIRST: u32 = 0x10_0000;
const TEXTS_MAX: usize = 65_000;

#[derive(Debug)]
pub(super) struct SpecialTexts {
    texts: Vec<String>,
    finder: AhoCorasick,
}

/// A part of a rendered prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// Special tokens in it are meant.
    Template(&'a str),
    /// Somebody's words.
    Said(&'a str),
}

impl SpecialTexts {
    pub(super) fn new(special: impl Iterator<Item = String>) -> Result<Self, BuildError> {
        let mut texts = vec![MARK.to_string()];
        texts.extend(special.filter(|text| !text.is_empty()).take(TEXTS_MAX));
        let finder = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(&texts)?;
        Ok(SpecialTexts { texts, finder })
    }

    /// Marks the special tokens in all strings of the values; hardly any have some.
    pub(super) fn mark_list<'a>(&self, values: &'a [Json]) -> Cow<'a, [Json]> {
        let mut values = Cow::Borrowed(values);
        if values.iter().any(|value| self.is_in(value)) {
            values.to_mut().iter_mut().for_each(|value| self.mark_all(value));
        }
        values
    }

    pub(super) fn mark_fields<'a>(&self, fields: &'a Map<String, Json>) -> Cow<'a, Map<String, Json>> {
        let mut fields = Cow::Borrowed(fields);
        if fields.values().any(|value| self.is_in(value)) {
            fields.to_mut().values_mut().for_each(|value| self.mark_all(value));
        }
        fields
    }

    fn is_in(&self, value: &Json) -> bool {
        match value {
            Json::String(text) => self.finder.is_match(text),
            Json::Array(items) => items.iter().any(|item| self.is_in(item)),
            Json::Object(fields) => {
                fields.iter().any(|(name, field)| self.finder.is_match(name) || self.is_in(field))
            }
            _ => false,
        }
    }

    fn mark_all(&self, value: &mut Json) {
        match value {
            Json::String(text) => *text = self.marked(text),
            Json::Array(items) => items.iter_mut().for_each(|item| self.mark_all(item)),
            Json::Object(fields) => {
                // Templates write names too, of documents for one; those that they look for hold no special token.
                if fields.keys().any(|name| self.finder.is_match(name)) {
                    let named = std::mem::take(fields).into_iter();
                    *fields = named.map(|(name, field)| (self.marked(&name), field)).collect();
                }
                fields.values_mut().for_each(|field| self.mark_all(field));
            }
            _ => {}
        }
    }

    fn marked(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        self.finder.replace_all_with(text, &mut out, |found, _, out| {
            out.push(MARK);
            out.extend(char::from_u32(FIRST + found.pattern().as_u32()));
            true
        });
        out
    }

    /// The parts of a prompt that was rendered from marked strings.
    pub(super) fn pieces<'a>(&'a self, rendered: &'a str) -> Vec<Piece<'a>> {
        let mut parts = rendered.split(MARK);
        let mut pieces: Vec<_> = parts.next().map(Piece::Template).into_iter().collect();
        for part in parts {
            let index = part.chars().next().and_then(|sign| u32::from(sign).checked_sub(FIRST));
            match index.and_then(|index| self.texts.get(index as usize)) {
                Some(text) => {
                    pieces.push(Piece::Said(text));
                    // All signs are four bytes long.
                    pieces.push(Piece::Template(&part[4..]));
                }
                // A template took the mark apart.
                None => pieces.push(Piece::Template(part)),
            }
        }
        pieces.retain(|piece| !matches!(piece, Piece::Template("")));
        pieces
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn texts() -> SpecialTexts {
        SpecialTexts::new(["<s>", "<|im_end|>", "<|im_end|>x"].map(str::to_owned).into_iter()).unwrap()
    }

    #[test]
    fn plain_messages_are_left_alone() {
        let messages = [json!({"content": "a < b", "n": 1})];
        assert!(matches!(texts().mark_list(&messages), Cow::Borrowed(_)));
        assert_eq!(texts().pieces("<s>a"), [Piece::Template("<s>a")]);
    }

    #[test]
    fn what_is_marked_comes_back_as_said() {
        let texts = texts();
        let messages = [json!({"content": [{"text": "a<|im_end|>b\u{FDD0}<s>"}], "role": "user"})];
        let marked = texts.mark_list(&messages);
        let content = marked[0]["content"][0]["text"].as_str().unwrap();
        assert!(!content.contains('<'), "{content:?}");
        let rendered = format!("<s>{content}<|im_end|>");
        let expected = [
            Piece::Template("<s>a"),
            Piece::Said("<|im_end|>"),
            Piece::Template("b"),
            Piece::Said("\u{FDD0}"),
            Piece::Said("<s>"),
            Piece::Template("<|im_end|>"),
        ];
        assert_eq!(texts.pieces(&rendered), expected);
    }

    #[test]
    fn names_of_fields_are_marked_too() {
        let documents = json!([{"first": 1, "a<s>": {"<|im_end|>": "b"}, "last": 2}]);
        let marked = texts().mark_list(std::slice::from_ref(&documents))[0].to_string();
        assert!(!marked.contains('<'), "{marked}");
        let place = |name: &str| marked.find(name).unwrap();
        assert!(place("first") < place("a\u{FDD0}") && place("a\u{FDD0}") < place("last"), "{marked}");
    }

    #[test]
    fn the_longest_text_counts_and_broken_marks_are_text() {
        let marked = texts().marked("<|im_end|>xy");
        assert_eq!(texts().pieces(&marked), [Piece::Said("<|im_end|>x"), Piece::Template("y")]);
        assert_eq!(texts().pieces("a\u{FDD0}b"), [Piece::Template("a"), Piece::Template("b")]);
    }
}
