//! What a chat template can see and call: the environment `transformers` gives it.
//!
//! Source: `transformers.utils.chat_template_utils` (block trimming, `tojson`, `raise_exception`,
//! `strftime_now`, loop controls, the `generation` tag). `date_string`, today's, is as in llama.cpp and mistral.rs: templates
//! of Llama 3.1 and 3.3 would else say a day of 2024. A client can send its own in `chat_template_kwargs`.

use std::fmt::Write as _;

use chrono::{DateTime, Utc};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::ValueKind;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Output, State, Value, escape_formatter};
use minijinja_contrib::pycompat::unknown_method_callback;
use thiserror::Error;

use super::{ChatPrompt, INSTRUCTIONS_MAX, OUTPUT_BYTES_MAX, RECURSION_MAX, TemplateTokens, json};

/// Longest value a method or filter may be given or make.
const VALUE_BYTES_MAX: usize = OUTPUT_BYTES_MAX;

#[derive(Debug, Error)]
#[error("{0}")]
pub(super) struct RaisedByTemplate(pub(super) String);

#[derive(Debug, Error)]
#[error("output limit")]
pub(super) struct OutputTooLong;

/// Bytes written so far, captured blocks included.
#[derive(Default)]
struct Written(usize);

pub(super) fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    environment.set_syntax(syntax.expect("the default delimiters are valid"));
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_fuel(Some(INSTRUCTIONS_MAX));
    environment.set_recursion_limit(RECURSION_MAX);
    environment.set_debug(false);
    environment.set_formatter(format_bounded);
    environment.set_unknown_method_callback(call_method);
    environment.add_function("raise_exception", raise_exception);
    environment.add_filter("tojson", json::to_json);
    // As in Jinja2, none is neither; both are asked of an absent `tools`.
    environment.add_test("iterable", |value: &Value| has_items(value) || value.is_undefined());
    environment.add_test("sequence", |value: &Value| has_items(value) && value.len().is_some());
    environment
}

pub(super) fn variables(tokens: &TemplateTokens, prompt: &ChatPrompt<'_>) -> Value {
    let now = DateTime::<Utc>::from(prompt.now);
    let strftime_now = move |format: &str| strftime(now, format);
    let mut variables: Vec<(String, Value)> = vec![
        ("date_string".to_owned(), strftime(now, "%d %b %Y").map_or(Value::UNDEFINED, Value::from)),
        ("documents".to_owned(), Value::from(())),
        ("strftime_now".to_owned(), Value::from_function(strftime_now)),
    ];
    let named = [
        ("bos_token", &tokens.bos),
        ("eos_token", &tokens.eos),
        ("unk_token", &tokens.unk),
        ("pad_token", &tokens.pad),
    ];
    for (name, token) in named {
        variables.extend(token.iter().map(|token| (name.to_owned(), Value::from(token.as_str()))));
    }
    variables.extend(prompt.arguments.iter().map(|(name, value)| (name.clone(), json::value(value))));
    let tools = if prompt.tools.is_empty() { Value::from(()) } else { json::values(prompt.tools) };
    variables.push(("messages".to_owned(), json::values(prompt.messages)));
    variables.push(("tools".to_owned(), tools));
    variables.push(("add_generation_prompt".to_owned(), Value::from(prompt.add_generation_prompt)));
    Value::from_pairs(variables)
}

/// The longest format templates use has about 20 characters.
fn strftime(now: DateTime<Utc>, format: &str) -> Result<String, Error> {
    let mut text = String::new();
    let written =
        if format.len() <= 256 { write!(text, "{}", now.format(format)) } else { Err(std::fmt::Error) };
    match written {
        Ok(()) => Ok(text),
        Err(_) => Err(Error::new(ErrorKind::InvalidOperation, "strftime_now cannot read its format")),
    }
}

fn raise_exception(message: &str) -> Result<Value, Error> {
    let raised = RaisedByTemplate(message.to_owned());
    Err(Error::new(ErrorKind::InvalidOperation, "raise_exception").with_source(raised))
}

fn format_bounded(output: &mut Output, state: &mut State, value: &Value) -> Result<(), Error> {
    let written = state.get_or_insert_extension(Written::default());
    written.0 = written.0.saturating_add(value.as_str().map_or(0, str::len));
    if written.0 > OUTPUT_BYTES_MAX {
        return Err(too_long());
    }
    escape_formatter(output, state, value)
}

fn has_items(value: &Value) -> bool {
    matches!(value.kind(), ValueKind::String | ValueKind::Seq | ValueKind::Map | ValueKind::Iterable)
}

fn too_long() -> Error {
    Error::new(ErrorKind::InvalidOperation, "value is too long").with_source(OutputTooLong)
}

/// Python's methods of strings, lists and dictionaries, with a limit on what they make.
fn call_method(state: &mut State, value: &Value, method: &str, arguments: &[Value]) -> Result<Value, Error> {
    let replaced = if method == "replace" { replaced_bytes(value, arguments) } else { None };
    if replaced.is_some_and(|made| made > VALUE_BYTES_MAX) {
        return Err(too_long());
    }
    let made = match (method, value.as_str(), arguments) {
        ("removeprefix", Some(text), [prefix]) => {
            let prefix = prefix.as_str().unwrap_or_default();
            Value::from(text.strip_prefix(prefix).unwrap_or(text))
        }
        ("removesuffix", Some(text), [suffix]) => {
            let suffix = suffix.as_str().unwrap_or_default();
            Value::from(text.strip_suffix(suffix).unwrap_or(text))
        }
        _ => unknown_method_callback(state, value, method, arguments)?,
    };
    match made.as_str() {
        Some(text) if text.len() > VALUE_BYTES_MAX => Err(too_long()),
        _ => Ok(made),
    }
}

/// Upper bound of the length of `value.replace(old, new)`.
fn replaced_bytes(value: &Value, arguments: &[Value]) -> Option<usize> {
    let [old, new, ..] = arguments else { return None };
    let (text, old, new) = (value.as_str()?, old.as_str()?, new.as_str()?);
    let places = text.len() / old.len().max(1) + 1;
    text.len().checked_add(places.saturating_mul(new.len()))
}

/// `{% generation %}` marks assistant text for training; it renders its body. As a plain `if` it
/// keeps the whitespace control written on the tag.
pub(super) fn without_generation_tags(source: &str) -> String {
    let mut output = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(begin) = rest.find("{%") {
        let (before, tag) = rest.split_at(begin);
        output.push_str(before);
        let inner = tag[2..].trim_start_matches(['-', '+']).trim_start();
        let word_end = inner.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(inner.len());
        let word = &inner[..word_end];
        let opening = &tag[..tag.len() - inner.len()];
        output.push_str(opening);
        output.push_str(match word {
            "generation" => "if true",
            "endgeneration" => "endif",
            other => other,
        });
        rest = &inner[word_end..];
    }
    output.push_str(rest);
    output
}
