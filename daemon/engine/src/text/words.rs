//! The words that byte-level byte-pair encoding merges in, cut and spelt as the library does it.
//!
//! The library makes three strings of each word, at each step of the cutting again, and keeps them until the whole text is
//! done: 4 us and hundreds of bytes for a digit, where digits are words. Here a word is a part of the text until its turn
//! comes. Only what such vocabularies usually have is done here; another way of cutting stays the library's.

use std::sync::LazyLock;

use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::tokenizer::SplitDelimiterBehavior;

use super::pre_tokenizer::GPT_2;
use super::token_bytes::byte_level_letter;

/// Each is a call deeper; no vocabulary has more than six.
const CUTS_MAX: usize = 16;

/// The steps of a pre-tokeniser whose last one is the byte alphabet.
#[derive(Debug)]
pub(super) struct Words<'a> {
    cuts: Vec<Cut<'a>>,
}

/// Both cut a text into matches and what is between.
#[derive(Debug)]
enum Cut<'a> {
    Pattern(&'a Split),
    /// Each numeric character.
    Digits,
}

/// What the library's own byte level cuts by, which it keeps to itself.
static BYTE_LEVEL: LazyLock<Split> = LazyLock::new(|| {
    let pattern = SplitPattern::Regex(GPT_2.to_owned());
    Split::new(pattern, SplitDelimiterBehavior::Isolated, false).expect("it is a regular expression")
});

impl<'a> Words<'a> {
    /// None for a pre-tokeniser that does something else too.
    pub(super) fn of(pre_tokenizer: &'a PreTokenizerWrapper) -> Option<Self> {
        let steps: &[PreTokenizerWrapper] = match pre_tokenizer {
            PreTokenizerWrapper::Sequence(steps) => steps.as_ref(),
            step => std::slice::from_ref(step),
        };
        let (PreTokenizerWrapper::ByteLevel(byte_level), before) = steps.split_last()? else { return None };
        if byte_level.add_prefix_space || before.len() > CUTS_MAX {
            return None;
        }
        let mut cuts: Vec<Cut<'a>> = before.iter().map(Cut::of).collect::<Option<_>>()?;
        if byte_level.use_regex {
            cuts.push(Cut::Pattern(&BYTE_LEVEL));
        }
        Some(Words { cuts })
    }

    /// Hands each word of `text`, which is not empty, to `take`, in turn and spelt in the byte alphabet.
    pub(super) fn each<E>(&self, text: &str, mut take: impl FnMut(&str) -> Result<(), E>) -> Result<(), E> {
        let mut spelt = String::new();
        let mut spell = |word: &str| -> Result<(), E> {
            spelt.clear();
            spelt.extend(word.bytes().map(byte_level_letter));
            take(&spelt)
        };
        cut(&self.cuts, text, &mut spell)
    }
}

impl<'a> Cut<'a> {
    fn of(step: &'a PreTokenizerWrapper) -> Option<Self> {
        match step {
            PreTokenizerWrapper::Split(split) if split.behavior == SplitDelimiterBehavior::Isolated => {
                Some(Cut::Pattern(split))
            }
            PreTokenizerWrapper::Digits(digits) if digits.individual_digits => Some(Cut::Digits),
            _ => None,
        }
    }

    /// Where its matches begin and end.
    fn matches<'t>(&self, text: &'t str) -> Box<dyn Iterator<Item = (usize, usize)> + 't>
    where
        'a: 't,
    {
        match self {
            Cut::Pattern(split) => Box::new(split.regex.find_iter(text)),
            Cut::Digits => {
                let digits = text.match_indices(char::is_numeric);
                Box::new(digits.map(|(begin, digit)| (begin, begin + digit.len())))
            }
        }
    }
}

/// Each step cuts the pieces of the one before it.
fn cut<E>(cuts: &[Cut<'_>], text: &str, take: &mut dyn FnMut(&str) -> Result<(), E>) -> Result<(), E> {
    // One character cannot be cut.
    let can_be_cut = text.chars().nth(1).is_some();
    let Some((first, rest)) = cuts.split_first().filter(|_| can_be_cut) else { return take(text) };
    let mut cut_to = 0;
    for (begin, end) in first.matches(text) {
        for piece in [&text[cut_to..begin], &text[begin..end]] {
            if !piece.is_empty() {
                cut(rest, piece, take)?;
            }
        }
        cut_to = end;
    }
    match &text[cut_to..] {
        "" => Ok(()),
        piece => cut(rest, piece, take),
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use proptest::prelude::*;
    use tokenizers::pre_tokenizers::byte_level::ByteLevel;
    use tokenizers::pre_tokenizers::digits::Digits;
    use tokenizers::pre_tokenizers::sequence::Sequence;
    use tokenizers::tokenizer::{OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer};

    use super::*;
    use crate::text::pre_tokenizer::scheme_named;

    const SCHEMES: [&str; 12] = [
        "default",
        "gpt-2",
        "smollm",
        "llama-bpe",
        "qwen2",
        "qwen35",
        "tekken",
        "gpt-4o",
        "deepseek-llm",
        "deepseek-coder",
        "deepseek-v3",
        "falcon",
    ];
    /// Of each class that the patterns tell apart.
    const LETTERS: [&str; 24] = [
        "a", "B", "é", "\u{301}", "日", "も", "한", "क", "ǅ", "7", "12", "٣", "½", " ", "  ", "\u{a0}", "\n",
        "\r", "'s", "'LL", "!", "/", "$", "🦙",
    ];

    static PRE_TOKENIZERS: LazyLock<Vec<PreTokenizerWrapper>> = LazyLock::new(|| {
        let named = SCHEMES.map(|name| scheme_named(name).unwrap().pre_tokenizer().unwrap());
        // As files of models write them.
        let byte_level = ByteLevel::new(false, true, true);
        let digits = Sequence::new(vec![Digits::new(true).into(), byte_level.into()]);
        named.into_iter().chain([byte_level.into(), digits.into()]).collect()
    });

    proptest! {
        #[test]
        fn words_are_the_library_s(letters in prop::collection::vec(0..LETTERS.len(), 1..40)) {
            let text: String = letters.into_iter().map(|at| LETTERS[at]).collect();
            for pre_tokenizer in PRE_TOKENIZERS.iter() {
                let mut pieces = PreTokenizedString::from(text.as_str());
                pre_tokenizer.pre_tokenize(&mut pieces).unwrap();
                let pieces = pieces.get_splits(OffsetReferential::Normalized, OffsetType::None);
                let expected: Vec<&str> = pieces.iter().map(|(word, ..)| *word).collect();
                let mut words: Vec<String> = Vec::new();
                let take = |word: &str| -> Result<(), Infallible> {
                    words.push(word.to_owned());
                    Ok(())
                };
                Words::of(pre_tokenizer).unwrap().each(&text, take).unwrap();
                assert_eq!(words, expected, "{text:?} by {pre_tokenizer:?}");
            }
        }
    }

    #[test]
    fn other_ways_of_cutting_are_the_library_s() {
        let byte_level = || PreTokenizerWrapper::from(ByteLevel::new(false, true, true));
        let digits = |individual| PreTokenizerWrapper::from(Digits::new(individual));
        let removing = Split::new(" ", SplitDelimiterBehavior::Removed, false).unwrap();
        let mut many: Vec<_> = (0..=CUTS_MAX).map(|_| digits(true)).collect();
        many.push(byte_level());
        for steps in [
            vec![],
            vec![ByteLevel::new(true, true, true).into()],
            vec![digits(true)],
            vec![digits(false), byte_level()],
            vec![byte_level(), digits(true)],
            vec![removing.into(), byte_level()],
            many,
        ] {
            let steps = PreTokenizerWrapper::from(Sequence::new(steps));
            assert!(Words::of(&steps).is_none(), "{steps:?}");
        }
    }
}
