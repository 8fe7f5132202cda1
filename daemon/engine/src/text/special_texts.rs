//! What users write stays text: `<|im_end|>` in a message must not end it.
//!
//! Before a conversation is templated, spelled-out special tokens in its strings become markers that no template
//! touches. Only the template's own special tokens are found in the prompt; once they are cut out, each marker becomes
//! the text it stands for, in the midst of what is around it.

use std::borrow::Cow;
use std::iter;

use aho_corasick::{AhoCorasick, BuildError, MatchKind};
use serde_json::{Map, Value as Json};
use thiserror::Error;
use tokenizers::NormalizedString;
use tokenizers::tokenizer::normalizer::Range;

/// A noncharacter: no text has a use for it. Met in a text, it is marked itself.
const MARK: char = '\u{FDD0}';
/// Behind a mark, the character for text 0: both planes of private use, with the noncharacters at their ends.
const FIRST: u32 = 0xF_0000;
/// Beside the mark itself.
const TEXTS_MAX: usize = 0x2_0000 - 1;

/// Why special tokens cannot be marked.
#[derive(Debug, Error)]
pub(super) enum MarkError {
    #[error("{0} texts, at most {TEXTS_MAX} can be told apart")]
    TooMany(usize),
    #[error(transparent)]
    Build(BuildError),
}

#[derive(Debug)]
pub(super) struct SpecialTexts {
    texts: Vec<String>,
    finder: AhoCorasick,
}

impl SpecialTexts {
    pub(super) fn new(special: impl Iterator<Item = String>) -> Result<Self, MarkError> {
        let mut texts = vec![MARK.to_string()];
        texts.extend(special.filter(|text| !text.is_empty()));
        if texts.len() > 1 + TEXTS_MAX {
            return Err(MarkError::TooMany(texts.len() - 1));
        }
        let finder = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(&texts);
        Ok(SpecialTexts { finder: finder.map_err(MarkError::Build)?, texts })
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

    /// Puts what was marked back into a part of a prompt.
    pub(super) fn put_back(&self, text: &mut NormalizedString) {
        if !text.get().contains(MARK) {
            return;
        }
        let marked = text.get().to_owned();
        let mut parts = marked.split(MARK);
        let before = parts.next().unwrap_or_default();
        let written = parts.flat_map(|part| {
            let (said, removed, behind) = match self.said(part) {
                // All signs are four bytes long.
                Some(said) => (said, -1, &part[4..]),
                // A template took the mark apart.
                None => ("\u{FFFD}", 0, part),
            };
            // The first character takes the place of the mark and of the sign behind it; the others are new.
            let said = said.chars().zip(iter::once(removed).chain(iter::repeat(1)));
            said.chain(as_is(behind))
        });
        text.transform_range(Range::Normalized(..), as_is(before).chain(written), 0);
    }

    /// What the sign at the beginning stands for.
    fn said(&self, part: &str) -> Option<&str> {
        let index = part.chars().next().and_then(|sign| u32::from(sign).checked_sub(FIRST))?;
        self.texts.get(index as usize).map(String::as_str)
    }
}

/// Characters as the library takes them, each in the place of itself.
fn as_is(text: &str) -> impl Iterator<Item = (char, isize)> {
    text.chars().map(|character| (character, 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn texts() -> SpecialTexts {
        SpecialTexts::new(["<s>", "<|im_end|>", "<|im_end|>x"].map(str::to_owned).into_iter()).unwrap()
    }

    fn put_back(rendered: &str) -> String {
        let mut text = NormalizedString::from(rendered);
        texts().put_back(&mut text);
        text.get().to_owned()
    }

    #[test]
    fn plain_messages_are_left_alone() {
        let messages = [json!({"content": "a < b", "n": 1})];
        assert!(matches!(texts().mark_list(&messages), Cow::Borrowed(_)));
        assert_eq!(put_back("<s>a"), "<s>a");
    }

    #[test]
    fn what_is_marked_comes_back_as_said() {
        let texts = texts();
        let messages = [json!({"content": [{"text": "a<|im_end|>b\u{FDD0}<s>"}], "role": "user"})];
        let marked = texts.mark_list(&messages);
        let content = marked[0]["content"][0]["text"].as_str().unwrap();
        assert!(!content.contains('<'), "{content:?}");
        let expected = "<s>äa<|im_end|>b\u{FDD0}<s><|im_end|>";
        assert_eq!(put_back(&format!("<s>ä{content}<|im_end|>")), expected);
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
    fn a_token_for_each_sound_is_marked_and_more_are_refused() {
        let texts = |count| SpecialTexts::new((0..count).map(|sound| format!("<|s_{sound}|>")));
        let many = texts(TEXTS_MAX).unwrap();
        let said = format!("a<|s_0|>b<|s_69999|>c<|s_{}|>", TEXTS_MAX - 1);
        let marked = many.marked(&said);
        assert!(!marked.contains('<'), "{marked:?}");
        let mut text = NormalizedString::from(marked.as_str());
        many.put_back(&mut text);
        assert_eq!(text.get(), said);
        assert!(matches!(texts(TEXTS_MAX + 1), Err(MarkError::TooMany(_))));
    }

    #[test]
    fn the_longest_text_counts_and_broken_marks_are_text() {
        let marked = texts().marked("<|im_end|>xy");
        assert!(marked.chars().count() == 3 && marked.ends_with('y'), "{marked:?}");
        assert_eq!(put_back(&marked), "<|im_end|>xy");
        assert_eq!(put_back("\u{FDD0}a\u{FDD0}\u{10FFFF}b\u{FDD0}"), "\u{FFFD}a\u{FFFD}\u{10FFFF}b\u{FFFD}");
    }
}
