//! One sequence's tokens to what a client reads: pieces of text, token ids, log probabilities, the end.
//!
//! Text that may become a stop string, or that is not a whole character yet, is held back; the tokens it came from
//! are held back with it, so that a piece and its tokens always travel together.

use std::sync::Arc;

use ostro_engine::request::{FinishReason as EngineReason, Token, TokenId};
use ostro_engine::text::{Detokenizer, SpecialTokens, StopStrings, StopText, TextModel};

use crate::openai::chat::FinishReason;
use crate::openai::logprobs::ScoredToken;

/// What all choices of a request share.
#[derive(Clone, Debug)]
pub(crate) struct ChoiceRules {
    pub text: Arc<TextModel>,
    pub stop_strings: Arc<StopStrings>,
    /// Stop strings are not looked for before this many tokens.
    pub min_tokens: u32,
    /// Tokens that end the answer and are not part of its text, sorted.
    pub end_tokens: Arc<[TokenId]>,
    pub return_token_ids: bool,
}

/// A piece of a choice.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Piece {
    pub text: String,
    pub token_ids: Vec<TokenId>,
    pub logprobs: Vec<ScoredToken>,
    pub finish: Option<FinishReason>,
}

impl Piece {
    /// Puts a later piece of the same choice behind this one.
    pub(crate) fn append(&mut self, later: Piece) {
        self.text.push_str(&later.text);
        self.token_ids.extend(later.token_ids);
        self.logprobs.extend(later.logprobs);
        self.finish = self.finish.or(later.finish);
    }
}

#[derive(Debug)]
pub(crate) struct ChoiceText {
    rules: ChoiceRules,
    detokenizer: Detokenizer,
    stop: StopText,
    held: Piece,
    tokens: u32,
    /// That these tokens have completed.
    characters: usize,
}

impl ChoiceText {
    pub(crate) fn new(rules: ChoiceRules) -> ChoiceText {
        let detokenizer = Detokenizer::new(rules.text.clone(), SpecialTokens::Skip);
        let stop = StopText::new(rules.stop_strings.clone());
        ChoiceText { rules, detokenizer, stop, held: Piece::default(), tokens: 0, characters: 0 }
    }

    pub(crate) fn tokens(&self) -> u32 {
        self.tokens
    }

    /// The piece that this token completes; `finish` is set when it completes a stop string.
    pub(crate) fn push(&mut self, token: Token) -> Option<Piece> {
        self.tokens += 1;
        if self.rules.return_token_ids {
            self.held.token_ids.push(token.id);
        }
        if let Some(logprobs) = token.logprobs {
            self.held.logprobs.push(ScoredToken { id: token.id, logprobs, text_offset: self.characters });
        }
        if self.rules.end_tokens.binary_search(&token.id).is_ok() {
            return None;
        }
        let text = self.detokenizer.push(token.id);
        self.characters += text.chars().count();
        if self.tokens < self.rules.min_tokens {
            self.held.text.push_str(&text);
        } else {
            let piece = self.stop.push(&text);
            self.held.text.push_str(&piece.text);
            if piece.stop.is_some() {
                self.held.finish = Some(FinishReason::Stop);
            }
        }
        let ready = !self.held.text.is_empty() || self.held.finish.is_some();
        ready.then(|| std::mem::take(&mut self.held))
    }

    /// The last piece, once the engine has ended the sequence.
    pub(crate) fn finish(&mut self, reason: EngineReason) -> Piece {
        let mut piece = std::mem::take(&mut self.held);
        let last = self.stop.push(&self.detokenizer.finish());
        piece.text.push_str(&last.text);
        if last.stop.is_none() {
            piece.text.push_str(&self.stop.finish());
        }
        piece.finish = Some(match reason {
            EngineReason::Stop(_) => FinishReason::Stop,
            EngineReason::Length if last.stop.is_some() => FinishReason::Stop,
            EngineReason::Length => FinishReason::Length,
        });
        piece
    }
}
