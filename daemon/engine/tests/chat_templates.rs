//! Every chat template of llama.cpp's collection parses, and renders simple conversations: each message in turn, between
//! marks.
//!
//! Read from `models/vocabularies/templates` in Ostro's cache folder, where `ostro-e2e model fetch vocabularies` puts them;
//! skipped where they are not there.

mod models;

use std::path::Path;
use std::time::UNIX_EPOCH;

use anyhow::{Context as _, Result, ensure};
use ostro_engine::text::chat_template::TemplateTokens;
use ostro_engine::text::{ChatPrompt, ChatTemplate, TemplateError};
use serde_json::{Value, json};

/// They append to a list when a tool was called; the sandbox of `transformers` refuses that too.
const CHANGE_LISTS: [&str; 2] = ["Kimi-K2-Instruct.jinja", "Kimi-K2-Thinking.jinja"];
/// It raises an exception for a system message, and for what a tool says.
const REFUSES: &str = "google-gemma-2-2b-it.jinja";

/// Messages and tools.
fn conversations() -> Vec<(Value, Value)> {
    let tool = json!({ "type": "function", "function": {
        "name": "weather", "description": "Tells the weather.",
        "parameters": { "type": "object", "properties": { "city": { "type": "string", "description": "where" } }, "required": ["city"] },
    }});
    let call = json!({ "role": "assistant", "content": "", "tool_calls": [{
        "id": "call12345", "type": "function",
        "function": { "name": "weather", "arguments": "{\"city\": \"Ostrava\"}" },
    }]});
    let result = json!({ "role": "tool", "tool_call_id": "call12345", "name": "weather", "content": "rain" });
    let system = json!({ "role": "system", "content": "Be brief." });
    let user = json!({ "role": "user", "content": "Hello there" });
    let assistant = json!({ "role": "assistant", "content": "Hi!" });
    vec![
        (json!([user]), json!([])),
        (json!([user, assistant, user]), json!([])),
        (json!([system, user]), json!([])),
        (json!([user]), json!([tool])),
        (json!([user, call, result]), json!([tool])),
    ]
}

fn check(path: &Path) -> Result<()> {
    let tokens = TemplateTokens { bos: Some("<s>".into()), eos: Some("</s>".into()), ..Default::default() };
    let template = ChatTemplate::single(&std::fs::read_to_string(path)?, tokens)?;
    // Firefunction takes its tools under this name.
    let arguments = json!({ "functions": "[]", "datetime": "2024-07-26" });
    for (messages, tools) in conversations() {
        let prompt = ChatPrompt {
            messages: messages.as_array().expect("an array"),
            tools: tools.as_array().expect("an array"),
            add_generation_prompt: true,
            arguments: arguments.as_object().expect("an object"),
            now: UNIX_EPOCH,
        };
        match template.render(&prompt) {
            Ok(text) => check_turns(&text, prompt.messages)?,
            Err(TemplateError::Raised { .. }) if path.ends_with(REFUSES) => {}
            Err(error) if error.to_string().contains("no method named append") => {
                ensure!(CHANGE_LISTS.iter().any(|name| path.ends_with(name)), "{error}");
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// What tools say some templates leave out, and a system message may be one with what follows it.
fn check_turns(text: &str, messages: &[Value]) -> Result<()> {
    let (mut rest, mut after_system) = (text, false);
    for message in messages.iter().filter(|message| message["role"] != "tool") {
        let content = message["content"].as_str().unwrap_or_default();
        if content.is_empty() {
            continue;
        }
        let found = rest.split_once(content);
        let (mark, behind) = found.with_context(|| format!("{content:?} is missing: {text}"))?;
        ensure!(after_system || !mark.trim().is_empty(), "no mark before {content:?}: {text}");
        (rest, after_system) = (behind, message["role"] == "system");
    }
    ensure!(!rest.trim().is_empty(), "no mark behind the last message: {text}");
    Ok(())
}

#[test]
fn every_template_renders_turns() -> Result<()> {
    let Some(folder) = models::cached("vocabularies/templates") else { return Ok(()) };
    let mut failures = Vec::new();
    let mut checked = 0;
    for entry in std::fs::read_dir(&folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "jinja") {
            checked += 1;
            failures.extend(check(&path).err().map(|error| format!("{}: {error:#}", path.display())));
        }
    }
    ensure!(failures.is_empty(), "{}", failures.join("\n"));
    ensure!(checked > 0, "{} has no templates", folder.display());
    Ok(())
}
