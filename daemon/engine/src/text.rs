//! Text to tokens and back: tokeniser, chat template, incremental decoding, stop strings.
//!
//! Reads a model directory or the vocabulary of a GGUF file once; afterwards everything is shared,
//! immutable and safe to call from many threads. Knows no HTTP, no tensors and no clock.

pub mod chat_template;
pub mod detokenize;
pub mod load;
pub mod pre_tokenizer;
pub mod sentencepiece;
pub mod stop_text;
pub mod token_bytes;
pub mod tokenize;
pub mod vocabulary;
pub mod wordpiece;

mod bpe;
mod byte_level;
mod special_texts;
mod token_model;
mod words;

pub use chat_template::{ChatPrompt, ChatTemplate, TemplateError};
pub use detokenize::{Detokenizer, SpecialTokens};
pub use load::{ChatError, TextError, TextModel, TextOverrides};
pub use stop_text::{StopPiece, StopStrings, StopText};
pub use tokenize::{EncodeError, Special};
pub use vocabulary::{GgufVocabulary, VocabularyError};
