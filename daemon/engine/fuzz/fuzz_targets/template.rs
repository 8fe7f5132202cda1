//! Any text as a chat template over any messages: an error or text within the limit, in bounded time.
//!
//! The input is the template, a NUL, and messages as JSON. Memory is not bounded (see the module):
//! run with `-rss_limit_mb=8192`.
#![no_main]

use std::time::UNIX_EPOCH;

use libfuzzer_sys::fuzz_target;
use ostro_engine::text::chat_template::{OUTPUT_BYTES_MAX, TemplateTokens};
use ostro_engine::text::{ChatPrompt, ChatTemplate};
use serde_json::{Map, Value, json};

fuzz_target!(|input: &str| {
    let (source, messages) = input.split_once('\0').unwrap_or((input, ""));
    let Ok(template) = ChatTemplate::single(source, TemplateTokens::default()) else { return };
    let messages = serde_json::from_str(messages).ok();
    let messages: Vec<Value> = messages.unwrap_or_else(|| vec![json!({ "role": "user", "content": "hi" })]);
    let prompt = ChatPrompt {
        messages: &messages,
        tools: &messages,
        add_generation_prompt: true,
        arguments: &Map::new(),
        now: UNIX_EPOCH,
    };
    if let Ok(text) = template.render(&prompt) {
        assert!(text.len() <= OUTPUT_BYTES_MAX);
    }
});
