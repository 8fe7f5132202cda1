//! The bytes each token stands for: what decoding, stop strings and `logprobs.bytes` work on.
//!
//! One flat table, filled at load, so that decoding a token is a slice of it.

use std::sync::LazyLock;

use super::token_model::ModelTokenizer;
use super::vocabulary::{GgufVocabulary, TokenType};
use crate::request::TokenId;

/// How a vocabulary writes bytes as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spelling {
    /// GPT-2: each byte is one printable character.
    ByteLevel,
    /// SentencePiece: `▁` is a space, `<0x0A>` a byte.
    Metaspace,
    /// BERT: `##` joins, everything else begins a word.
    WordPiece,
    /// Tokens are their text.
    Plain,
}

/// Whether a text's first token carries a space that the tokeniser itself put there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeadingSpace {
    Added,
    Own,
}

#[derive(Debug, Default)]
pub struct TokenBytes {
    bytes: Vec<u8>,
    /// `ends[id - 1]..ends[id]` are the bytes of `id`.
    ends: Vec<u32>,
    special: Vec<bool>,
}

impl TokenBytes {
    pub(super) fn from_vocabulary(vocabulary: &GgufVocabulary, spelling: Spelling) -> Self {
        let mut table = TokenBytes::default();
        for (id, token) in vocabulary.tokens.iter().enumerate() {
            match vocabulary.token_type(id) {
                TokenType::Control | TokenType::Unknown => table.push_special(token),
                TokenType::UserDefined => table.push(token, Spelling::Plain),
                TokenType::Byte => table.push(token, Spelling::Metaspace),
                TokenType::Normal | TokenType::Unused => table.push(token, spelling),
            }
        }
        table
    }

    /// From a `tokenizer.json`; ids without a token stand for nothing.
    pub(super) fn from_tokenizer(tokenizer: &ModelTokenizer, spelling: Spelling) -> Self {
        let added = tokenizer.get_added_tokens_decoder();
        let last = tokenizer.get_vocab(true).into_values().max();
        // Ids far beyond the number of tokens would make this table as large as the file claims.
        let count = last.map_or(0, |id| (id as usize + 1).min(8 * tokenizer.get_vocab_size(true) + 65_536));
        let mut table = TokenBytes::default();
        for id in 0..count as TokenId {
            match added.get(&id) {
                Some(token) if token.special => table.push_special(&token.content),
                Some(token) => table.push(&token.content, spelling),
                None => table.push(&tokenizer.id_to_token(id).unwrap_or_default(), spelling),
            }
        }
        table
    }

    fn push_special(&mut self, token: &str) {
        self.push(token, Spelling::Plain);
        if let Some(last) = self.special.last_mut() {
            *last = true;
        }
    }

    fn push(&mut self, token: &str, spelling: Spelling) {
        match spelling {
            Spelling::Plain => self.bytes.extend_from_slice(token.as_bytes()),
            Spelling::ByteLevel => push_byte_level(token, &mut self.bytes),
            Spelling::Metaspace => match byte_token(token) {
                Some(byte) => self.bytes.push(byte),
                None => self.bytes.extend_from_slice(token.replace('\u{2581}', " ").as_bytes()),
            },
            Spelling::WordPiece => match token.strip_prefix("##") {
                Some(rest) => self.bytes.extend_from_slice(rest.as_bytes()),
                None => self.bytes.extend([b" ", token.as_bytes()].concat()),
            },
        }
        self.ends.push(self.bytes.len() as u32);
        self.special.push(false);
    }

    /// Empty for an id outside the vocabulary.
    pub fn get(&self, id: TokenId) -> &[u8] {
        let index = id as usize;
        let Some(end) = self.ends.get(index) else { return &[] };
        let begin = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[begin as usize..*end as usize]
    }

    pub fn is_special(&self, id: TokenId) -> bool {
        self.special.get(id as usize).copied().unwrap_or(false)
    }

    /// How special tokens are written.
    pub(super) fn special_texts(&self) -> impl Iterator<Item = String> {
        let ids = (0..self.len() as TokenId).filter(|id| self.is_special(*id));
        ids.map(|id| String::from_utf8_lossy(self.get(id)).into_owned())
    }

    /// One more than the largest id.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }
}

/// `<0x0A>` as its byte.
pub(super) fn byte_token(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
    if digits.len() != 2 { None } else { u8::from_str_radix(digits, 16).ok() }
}

/// A token with a character outside the byte alphabet is an added one, spelt as text.
fn push_byte_level(token: &str, bytes: &mut Vec<u8>) {
    let begin = bytes.len();
    for character in token.chars() {
        match BYTE_OF_CHARACTER.get(character as usize).copied().flatten() {
            Some(byte) => bytes.push(byte),
            None => {
                bytes.truncate(begin);
                bytes.extend_from_slice(token.as_bytes());
                return;
            }
        }
    }
}

/// How GPT-2's alphabet writes a byte.
pub(super) fn byte_level_letter(byte: u8) -> char {
    LETTER_OF_BYTE[usize::from(byte)]
}

static LETTER_OF_BYTE: LazyLock<[char; 256]> = LazyLock::new(|| {
    let mut table = ['\0'; 256];
    for (letter, byte) in ('\0'..).zip(BYTE_OF_CHARACTER.iter()) {
        if let Some(byte) = byte {
            table[usize::from(*byte)] = letter;
        }
    }
    table
});

/// GPT-2's alphabet: printable Latin-1 bytes are themselves, the others follow from U+0100 on.
static BYTE_OF_CHARACTER: LazyLock<[Option<u8>; 324]> = LazyLock::new(|| {
    let mut table = [None; 324];
    let mut next = 256;
    for byte in 0..=255u8 {
        let character = match byte {
            b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff => byte as usize,
            _ => {
                next += 1;
                next - 1
            }
        };
        table[character] = Some(byte);
    }
    table
});
