//! Loads everything about a model's text from its files, and is what the rest of the engine and the
//! server hold: tokeniser, chat template, end tokens.
//!
//! Where a chat template is looked for, first found wins: `jinja_explicit`, `chat_template`,
//! `chat_template.jinja`, `tokenizer_config.json`, `chat_template.json`, GGUF metadata.

mod directory;
mod opening;
mod turn_marks;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::chat_template::{ChatPrompt, ChatTemplate, TemplateError, TemplateTokens};
use super::detokenize::SpecialTokens;
use super::special_texts::SpecialTexts;
use super::tokenize::{EncodeError, Special, Tokenizer};
use super::vocabulary::{GgufVocabulary, VocabularyError};
use crate::request::TokenId;

/// Larger files are not tokenisers or templates; the largest known tokenizer.json has 35 MB.
const FILE_BYTES_MAX: u64 = 256 << 20;

/// Files the operator names in place of the model's own.
#[derive(Clone, Debug, Default)]
pub struct TextOverrides {
    /// A `tokenizer.json`.
    pub tokenizer: Option<PathBuf>,
    /// A `.jinja` file, or a `.json` file with `chat_template`.
    pub chat_template: Option<PathBuf>,
    /// Like `chat_template`, and stronger.
    pub jinja_explicit: Option<PathBuf>,
}

#[derive(Debug, Error)]
pub enum TextError {
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} is not a regular file", .0.display())]
    NotAFile(PathBuf),
    #[error("{} is {bytes} bytes long, more than {FILE_BYTES_MAX}", path.display())]
    TooLarge { path: PathBuf, bytes: u64 },
    #[error("{} is not valid JSON", path.display())]
    Json { path: PathBuf, source: serde_json::Error },
    #[error("{}: {field} is not {expected}", path.display())]
    Field { path: PathBuf, field: &'static str, expected: &'static str },
    #[error("cannot load the tokenizer {}: {reason}", path.display())]
    Tokenizer { path: PathBuf, reason: String },
    #[error("{} has no tokenizer.json{hint}", path.display())]
    NoTokenizer { path: PathBuf, hint: &'static str },
    #[error("the file's vocabulary")]
    Vocabulary(#[from] VocabularyError),
    #[error(transparent)]
    Template(#[from] TemplateError),
    #[error("the vocabulary has too many special tokens: {0}")]
    SpecialTokens(String),
    #[error("a chat template file must end in .jinja or .json: {}", .0.display())]
    TemplateName(PathBuf),
}

/// Why a conversation has no tokens.
#[derive(Debug, Error)]
pub enum ChatError {
    #[error(transparent)]
    Template(#[from] TemplateError),
    #[error(transparent)]
    Encode(#[from] EncodeError),
    #[error("the conversation has {bytes} bytes as the chat template writes it, allowed are {bytes_max}")]
    TooLong { bytes: usize, bytes_max: usize },
}

/// Tokeniser, chat template and special tokens of one model. Immutable; share it in an `Arc`.
#[derive(Debug)]
pub struct TextModel {
    tokenizer: Tokenizer,
    special_texts: SpecialTexts,
    template: Option<ChatTemplate>,
    bos: Option<TokenId>,
    eos: Vec<TokenId>,
}

/// What a source of text data found, before overrides.
pub(super) struct Found {
    pub(super) tokenizer: Tokenizer,
    pub(super) templates: Vec<(String, String)>,
    pub(super) tokens: TemplateTokens,
    pub(super) bos: Option<TokenId>,
    pub(super) eos: Vec<TokenId>,
}

/// Texts that end a turn or a document in the models that have them. GGUF files often name one end
/// token although the model uses two, and some call the other an ordinary token.
const END_TEXTS: [&str; 14] = [
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end|>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<end_of_turn>",
    "<end_of_utterance>",
    "<turn|>",
    "<|return|>",
    "<|call|>",
    "<EOT>",
    "<｜end▁of▁sentence｜>",
    "<|END_OF_TURN_TOKEN|>",
];

impl TextModel {
    /// From the metadata of a GGUF file.
    pub fn from_gguf(vocabulary: &GgufVocabulary, overrides: &TextOverrides) -> Result<Self, TextError> {
        let tokenizer = match &overrides.tokenizer {
            Some(path) => directory::read_tokenizer(path)?,
            None => vocabulary.build_tokenizer()?,
        };
        let mut eos: Vec<TokenId> =
            [vocabulary.eos, vocabulary.eot, vocabulary.eom].into_iter().flatten().collect();
        eos.extend(END_TEXTS.iter().filter_map(|text| tokenizer.id_of(text)));
        let mut templates: Vec<_> =
            vocabulary.chat_template.iter().map(|source| ("default".to_owned(), source.clone())).collect();
        templates.extend(vocabulary.named_chat_templates.iter().cloned());
        let text = |id| vocabulary.token(id).map(str::to_owned);
        let tokens = TemplateTokens {
            bos: text(vocabulary.bos),
            eos: text(vocabulary.eos),
            unk: text(vocabulary.unk),
            pad: text(vocabulary.pad),
        };
        Self::assemble(Found { tokenizer, templates, tokens, bos: vocabulary.bos, eos }, overrides)
    }

    /// From a model directory with `tokenizer.json` and, where present, `tokenizer_config.json`,
    /// `special_tokens_map.json`, `generation_config.json`, `config.json` and chat template files.
    pub fn from_dir(path: &Path, overrides: &TextOverrides) -> Result<Self, TextError> {
        Self::assemble(directory::read(path, overrides)?, overrides)
    }

    fn assemble(found: Found, overrides: &TextOverrides) -> Result<Self, TextError> {
        let named = overrides.jinja_explicit.as_ref().or(overrides.chat_template.as_ref());
        let templates = match named {
            Some(path) => directory::read_template_file(path)?,
            None => found.templates,
        };
        let template = match templates.is_empty() {
            true => None,
            false => Some(ChatTemplate::new(templates, found.tokens)?),
        };
        let mut eos = found.eos;
        eos.sort_unstable();
        eos.dedup();
        let Found { tokenizer, bos, .. } = found;
        let frame: Vec<TokenId> = eos.iter().copied().chain(bos).collect();
        let marks = turn_marks::of(&tokenizer, &frame);
        let special_texts = SpecialTexts::new(tokenizer.bytes().special_texts().chain(marks))
            .map_err(|error| TextError::SpecialTokens(error.to_string()))?;
        Ok(TextModel { tokenizer, special_texts, template, bos, eos })
    }

    /// The tokens of a conversation. Special tokens and marks of turns come from the template only: those that a
    /// message spells out stay text.
    pub fn encode_chat(&self, prompt: &ChatPrompt<'_>, bytes_max: usize) -> Result<Vec<TokenId>, ChatError> {
        let marks = &self.special_texts;
        let rendered = self.apply_chat_template(&ChatPrompt {
            messages: &marks.mark_list(prompt.messages),
            tools: &marks.mark_list(prompt.tools),
            arguments: &marks.mark_fields(prompt.arguments),
            ..*prompt
        })?;
        if rendered.len() > bytes_max {
            return Err(ChatError::TooLong { bytes: rendered.len(), bytes_max });
        }
        Ok(self.tokenizer.encode_marked(&rendered, marks)?)
    }

    /// The prompt text of a conversation.
    pub fn apply_chat_template(&self, prompt: &ChatPrompt<'_>) -> Result<String, TemplateError> {
        self.template.as_ref().ok_or(TemplateError::Missing)?.render(prompt)
    }

    pub fn chat_template(&self) -> Option<&ChatTemplate> {
        self.template.as_ref()
    }

    pub fn encode(&self, text: &str, special: Special) -> Result<Vec<TokenId>, EncodeError> {
        self.tokenizer.encode(text, special)
    }

    pub fn decode(&self, ids: &[TokenId], special: SpecialTokens) -> String {
        self.tokenizer.decode(ids, special)
    }

    /// The bytes a token stands for, not always whole characters; empty outside the vocabulary.
    pub fn token_bytes(&self, id: TokenId) -> &[u8] {
        self.tokenizer.bytes().get(id)
    }

    pub fn is_special(&self, id: TokenId) -> bool {
        self.tokenizer.bytes().is_special(id)
    }

    pub fn token_id(&self, token: &str) -> Option<TokenId> {
        self.tokenizer.id_of(token)
    }

    /// Tokens that end an answer, ascending.
    pub fn eos_ids(&self) -> &[TokenId] {
        &self.eos
    }

    pub fn bos(&self) -> Option<TokenId> {
        self.bos
    }

    /// One more than the largest token id. The model's matrices may have more rows.
    pub fn vocab_size(&self) -> usize {
        self.tokenizer.bytes().len()
    }
}

fn read_file(path: &Path) -> Result<Vec<u8>, TextError> {
    let failed = |source| TextError::Read { path: path.to_owned(), source };
    let about = fs::metadata(path).map_err(failed)?;
    // Asked before opening: a named pipe would wait for its writer, and a device may never end.
    if !about.is_file() {
        return Err(TextError::NotAFile(path.to_owned()));
    }
    let bytes = about.len();
    if bytes > FILE_BYTES_MAX {
        return Err(TextError::TooLarge { path: path.to_owned(), bytes });
    }
    fs::read(path).map_err(failed)
}

#[cfg(test)]
mod tests;
