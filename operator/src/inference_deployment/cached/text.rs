//! Texts of objects of one kind, which are much alike: of each is kept what LZ4 leaves of it with texts that came before
//! as its dictionary, a tenth of JSON or less.

use std::borrow::Cow;
use std::sync::Arc;

use lz4_flex::block::{compress_prepend_size_with_dict, decompress_size_prepended_with_dict};
use serde::de::DeserializeOwned;

/// What uids, names and times leave of a text that is like one before.
const LEFT_BYTES: usize = 256;
/// More than this part of the text is left of one that is not; those that come may be like it.
const LEFT_PART: usize = 8;
/// What LZ4 finds again is at most 64 KiB away, and every text is packed in the time that reading all this takes.
const DICTIONARY_BYTES_MAX: usize = 16 << 10;

type Dictionary = Arc<[u8]>;

/// JSON, kept small. Read in whole, or not at all.
#[derive(Clone, Debug)]
pub(crate) struct Text {
    bytes: Box<[u8]>,
    /// With which it is packed, if it is.
    dictionary: Option<Dictionary>,
}

/// Packs the texts of one kind, as its watch shows them.
#[derive(Debug, Default)]
pub(crate) struct Packer {
    dictionary: Dictionary,
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Text { bytes: text.into_bytes().into(), dictionary: None }
    }
}

impl Text {
    /// # Errors
    /// It is no such thing.
    pub(crate) fn parse<T: DeserializeOwned>(&self) -> serde_json::Result<T> {
        serde_json::from_slice(&self.read())
    }

    fn read(&self) -> Cow<'_, [u8]> {
        let Some(dictionary) = &self.dictionary else { return Cow::Borrowed(&self.bytes) };
        let text = decompress_size_prepended_with_dict(&self.bytes, dictionary);
        Cow::Owned(text.expect("it was packed here, with this dictionary"))
    }
}

impl Packer {
    /// Does nothing with a text that is packed.
    pub(crate) fn pack(&mut self, text: &mut Text) {
        if text.dictionary.is_some() {
            return;
        }
        let whole = std::mem::take(&mut text.bytes);
        *text = packed(&whole, &self.dictionary);
        let is_alike = text.bytes.len() <= LEFT_BYTES + whole.len() / LEFT_PART;
        let has_room = self.dictionary.len() + whole.len() <= DICTIONARY_BYTES_MAX;
        if has_room && (self.dictionary.is_empty() || !is_alike) {
            self.dictionary = [&*self.dictionary, &*whole].concat().into();
            *text = packed(&whole, &self.dictionary);
        }
    }
}

fn packed(text: &[u8], dictionary: &Dictionary) -> Text {
    let bytes = compress_prepend_size_with_dict(text, dictionary);
    Text { bytes: bytes.into(), dictionary: Some(dictionary.clone()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inference_deployment::build::short_hash;

    /// Of so many bytes, in JSON, and like that of no other number.
    fn unlike(number: usize, bytes: usize) -> String {
        let noise = (0..bytes / 16).map(|index| short_hash(format!("{number} {index}").as_bytes()));
        format!("\"{}\"", noise.collect::<String>())
    }

    fn pack(packer: &mut Packer, text: &str) -> Text {
        let mut packed = Text::from(text.to_owned());
        packer.pack(&mut packed);
        assert_eq!(packed.read(), text.as_bytes());
        packed
    }

    #[test]
    fn what_came_before_is_not_kept_again() {
        let mut packer = Packer::default();
        let like = |number: usize| format!("[{number},{}]", unlike(0, 3000));
        let texts: Vec<Text> = (0..100).map(|number| pack(&mut packer, &like(number))).collect();
        for (number, text) in texts.iter().enumerate() {
            assert!(text.bytes.len() < 100, "{number}: {}", text.bytes.len());
            assert_eq!(text.read(), like(number).as_bytes());
        }
    }

    #[test]
    fn dictionaries_do_not_grow_for_ever() {
        let mut packer = Packer::default();
        let texts: Vec<Text> = (0..100).map(|number| pack(&mut packer, &unlike(number, 3000))).collect();
        assert!(packer.dictionary.len() <= DICTIONARY_BYTES_MAX);
        pack(&mut packer, &unlike(100, 100_000));
        assert!(packer.dictionary.len() <= DICTIONARY_BYTES_MAX);
        for (number, text) in texts.iter().enumerate() {
            assert_eq!(text.read(), unlike(number, 3000).as_bytes(), "{number}");
        }
    }

    #[test]
    fn short_and_empty_texts_are_kept_too() {
        let mut packer = Packer::default();
        for text in ["", "1", "\"a\"", "", "\"a\""] {
            pack(&mut packer, text);
        }
    }
}
