//! A conversation with one model in the terminal: messages in, an answer that streams out.

pub(crate) mod command;
pub(crate) mod editor;
pub(crate) mod input;
pub(crate) mod log;
pub(crate) mod piped;
pub(crate) mod repl;

use std::io::{self, Write};
use std::sync::Arc;
use std::time::SystemTime;

use ostro_engine::request::{
    FinishReason, Finished, Generation, Sampling, StopRules, TokenEvent, TokenId, Usage,
};
use ostro_engine::text::{self, ChatPrompt, Detokenizer, EncodeError, Special, SpecialTokens};
use ostro_engine::{Engine, SubmitError};
use ostro_server::validate::SamplingDefaults;
use serde_json::{Map, Value, json};

use crate::translate::ChatPlan;
use log::ChatLog;

/// How answers are drawn; the REPL's commands change it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ChatSettings {
    pub(crate) sampling: Sampling,
    pub(crate) system: Option<String>,
    /// `None`: what the context holds.
    pub(crate) max_tokens: Option<u32>,
}

impl ChatSettings {
    /// What the model's files say, else values that suit a chat.
    pub(crate) fn new(defaults: SamplingDefaults, max_tokens: Option<u32>) -> Self {
        let sampling = Sampling {
            temperature: defaults.temperature.unwrap_or(0.8),
            top_k: Some(defaults.top_k.unwrap_or(40)),
            top_p: defaults.top_p.unwrap_or(0.95),
            min_p: defaults.min_p.unwrap_or(0.05),
            repetition_penalty: defaults.repetition_penalty.unwrap_or(1.0),
            seed: defaults.seed,
            ..Sampling::default()
        };
        ChatSettings { sampling, system: None, max_tokens }
    }
}

pub(crate) struct Conversation {
    engine: Engine,
    pub(crate) settings: ChatSettings,
    /// Variables of the chat template.
    arguments: Map<String, Value>,
    messages: Vec<Value>,
    log: Option<ChatLog>,
}

/// How an answer ended.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Answer {
    Finished(Finished),
    /// The person stopped it.
    Interrupted,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum ChatError {
    #[error(transparent)]
    Conversation(#[from] text::ChatError),
    #[error(transparent)]
    Encode(#[from] EncodeError),
    #[error(transparent)]
    Submit(#[from] SubmitError),
    #[error("the engine failed: {0}")]
    Engine(String),
    #[error("cannot write the answer")]
    Write(#[from] io::Error),
    #[error("cannot write the log")]
    Log(#[source] io::Error),
}

impl Conversation {
    pub(crate) fn new(engine: Engine, settings: ChatSettings, plan: &ChatPlan, log: Option<ChatLog>) -> Self {
        let thinking = plan.thinking.map(|thinking| ("enable_thinking".to_owned(), Value::from(thinking)));
        let effort = plan.reasoning_effort.map(|effort| ("reasoning_effort".to_owned(), Value::from(effort)));
        let arguments = thinking.into_iter().chain(effort).collect();
        Conversation { engine, settings, arguments, messages: Vec::new(), log }
    }

    /// Without a chat template the model continues each text, and remembers nothing.
    pub(crate) fn has_template(&self) -> bool {
        self.engine.text().chat_template().is_some()
    }

    pub(crate) fn has_messages(&self) -> bool {
        !self.messages.is_empty()
    }

    /// Whether it was the context that ended an answer.
    pub(crate) fn fills_context(&self, answer: &Finished) -> bool {
        let chosen = self.settings.max_tokens.is_some_and(|max| answer.usage.completion_tokens >= max);
        answer.reason == FinishReason::Length && !chosen && self.has_template()
    }

    pub(crate) fn clear(&mut self) {
        self.messages.clear();
    }

    /// Writes the answer to `text` as it comes, until it ends or `interrupt` is ready. A question that cannot be
    /// answered is forgotten; an answer that cannot be logged is part of the conversation.
    pub(crate) async fn answer(
        &mut self,
        text: &str,
        output: &mut impl Write,
        interrupt: impl Future<Output = ()>,
    ) -> Result<Answer, ChatError> {
        self.messages.push(json!({ "role": "user", "content": text }));
        let mut written = String::new();
        let result = self.stream(text, output, interrupt, &mut written).await;
        if result.is_err() {
            self.messages.pop();
            return result;
        }
        let asked = self.messages.len();
        self.messages.push(json!({ "role": "assistant", "content": &written }));
        if let Some(log) = &mut self.log {
            log.record(&self.messages[..asked], &written).map_err(ChatError::Log)?;
        }
        result
    }

    async fn stream(
        &self,
        text: &str,
        output: &mut impl Write,
        interrupt: impl Future<Output = ()>,
        written: &mut String,
    ) -> Result<Answer, ChatError> {
        let max_tokens = self.settings.max_tokens.unwrap_or(u32::MAX);
        let mut stream = self.engine.submit(Generation {
            prompt: self.prompt(text)?.into(),
            sampling: self.settings.sampling.clone(),
            stop: StopRules { max_tokens, ..StopRules::default() },
            logprobs: None,
            cache_salt: 0,
        })?;
        let mut detokenizer = Detokenizer::new(Arc::clone(self.engine.text()), SpecialTokens::Skip);
        let end_tokens = self.engine.text().eos_ids();
        let mut interrupt = std::pin::pin!(interrupt);
        let answer = loop {
            let event = tokio::select! {
                biased;
                () = &mut interrupt => break Answer::Interrupted,
                event = stream.next() => event,
            };
            match event {
                // It may be an ordinary token, with a text; only the `Finished` that follows ends the answer.
                Some(TokenEvent::Token(token)) if end_tokens.contains(&token.id) => {}
                Some(TokenEvent::Token(token)) => write_piece(output, written, &detokenizer.push(token.id))?,
                Some(TokenEvent::Finished(finished)) => break Answer::Finished(finished),
                Some(TokenEvent::Failed(reason)) => return Err(ChatError::Engine(reason)),
                None => return Err(ChatError::Engine("it ended without a word".to_owned())),
            }
        };
        write_piece(output, written, &detokenizer.finish())?;
        Ok(answer)
    }

    fn prompt(&self, text: &str) -> Result<Vec<TokenId>, ChatError> {
        let model = self.engine.text();
        if !self.has_template() {
            return Ok(model.encode(text, Special::Add)?);
        }
        let system = self.settings.system.iter().map(|text| json!({ "role": "system", "content": text }));
        let messages: Vec<Value> = system.chain(self.messages.iter().cloned()).collect();
        let prompt = ChatPrompt {
            messages: &messages,
            tools: &[],
            add_generation_prompt: true,
            arguments: &self.arguments,
            now: SystemTime::now(),
        };
        // Typed in, or read from a file, by whoever waits for it.
        Ok(model.encode_chat(&prompt, usize::MAX)?)
    }
}

fn write_piece(output: &mut impl Write, written: &mut String, piece: &str) -> io::Result<()> {
    if piece.is_empty() {
        return Ok(());
    }
    written.push_str(piece);
    output.write_all(piece.as_bytes())?;
    output.flush()
}

/// `12 tokens, 24.0 tokens/s; prompt 20 tokens (16 cached), 310.5 tokens/s`
pub(crate) fn speed(usage: &Usage) -> String {
    let rate = |tokens: u32, seconds: f64| match seconds > 0.0 && tokens > 0 {
        true => format!(", {:.1} tokens/s", f64::from(tokens) / seconds),
        false => String::new(),
    };
    let cached = match usage.cached_tokens {
        0 => String::new(),
        cached => format!(" ({cached} cached)"),
    };
    format!(
        "{} tokens{}; prompt {} tokens{cached}{}",
        usage.completion_tokens,
        // The first token comes with the prompt.
        rate(usage.completion_tokens.saturating_sub(1), usage.decode_seconds),
        usage.prompt_tokens,
        rate(usage.prompt_tokens.saturating_sub(usage.cached_tokens), usage.prefill_seconds),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speeds_leave_out_what_was_not_measured() {
        let usage = Usage {
            prompt_tokens: 20,
            cached_tokens: 16,
            completion_tokens: 13,
            prefill_seconds: 0.5,
            decode_seconds: 2.0,
            ..Usage::default()
        };
        assert_eq!(speed(&usage), "13 tokens, 6.0 tokens/s; prompt 20 tokens (16 cached), 8.0 tokens/s");
        let nothing = Usage { prompt_tokens: 3, completion_tokens: 1, ..Usage::default() };
        assert_eq!(speed(&nothing), "1 tokens; prompt 3 tokens");
    }

    #[test]
    fn files_of_the_model_win_over_chat_defaults() {
        let defaults =
            SamplingDefaults { temperature: Some(0.1), seed: Some(3), ..SamplingDefaults::default() };
        let sampling = ChatSettings::new(defaults, None).sampling;
        assert_eq!((sampling.temperature, sampling.top_k, sampling.seed), (0.1, Some(40), Some(3)));
    }
}
