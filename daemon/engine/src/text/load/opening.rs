//! What the chat template begins conversations with, before the first message says anything.

use std::time::SystemTime;

use serde_json::{Map, json};

use super::{ChatError, ChatPrompt, TextModel};
use crate::request::TokenId;

/// Longer ones are not worth a look.
const BYTES_MAX: usize = 1 << 20;

impl TextModel {
    /// The tokens that conversations begin with if they begin with a user's message; none where the template, or the
    /// lack of one, does not allow that.
    pub fn opening(&self) -> Vec<TokenId> {
        let tokens = |content| self.conversation(content).unwrap_or_default();
        let (mut opening, other) = (tokens("0"), tokens("a"));
        let common = opening.iter().zip(&other).take_while(|(one, other)| one == other).count();
        opening.truncate(common);
        opening
    }

    fn conversation(&self, content: &str) -> Result<Vec<TokenId>, ChatError> {
        let messages = [json!({"role": "user", "content": content})];
        let prompt = ChatPrompt {
            messages: &messages,
            tools: &[],
            add_generation_prompt: true,
            arguments: &Map::new(),
            now: SystemTime::now(),
        };
        self.encode_chat(&prompt, BYTES_MAX)
    }
}
