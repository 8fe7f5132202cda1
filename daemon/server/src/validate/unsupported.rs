//! Request fields that OpenAI or other servers know and this build does not serve.
//!
//! A value that asks for nothing is accepted, since clients send their defaults; any other is refused by name.

use std::collections::HashMap;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::ApiError;
use crate::openai::distinct::DistinctValue;

/// A known field and the values of it that change nothing here, as JSON. `null` always is one.
struct Field {
    name: &'static str,
    harmless: Harmless,
}

enum Harmless {
    Values(&'static [&'static str]),
    /// Any string: the field informs OpenAI's own service and never changes an answer.
    Text,
    /// An object of strings, likewise.
    Labels,
}

const fn only(name: &'static str, values: &'static [&'static str]) -> Field {
    Field { name, harmless: Harmless::Values(values) }
}

const fn text(name: &'static str) -> Field {
    Field { name, harmless: Harmless::Text }
}

const FIELDS: &[Field] = &[
    // OpenAI: no effect on an answer.
    text("user"),
    Field { name: "metadata", harmless: Harmless::Labels },
    text("safety_identifier"),
    text("prompt_cache_key"),
    text("prompt_cache_retention"),
    Field { name: "prompt_cache_options", harmless: Harmless::Labels },
    only("store", &["false"]),
    only("service_tier", &[r#""auto""#, r#""default""#]),
    // OpenAI: tools. Without tools the other fields choose nothing.
    only("tools", &["[]"]),
    only("tool_choice", &[r#""none""#, r#""auto""#]),
    only("parallel_tool_calls", &["true", "false"]),
    only("functions", &["[]"]),
    only("function_call", &[r#""none""#, r#""auto""#]),
    only("web_search_options", &[]),
    // OpenAI: forms of output.
    only("response_format", &[r#"{"type":"text"}"#]),
    only("modalities", &[r#"["text"]"#]),
    only("verbosity", &[r#""medium""#]),
    only("audio", &[]),
    only("prediction", &[]),
    only("moderation", &[]),
    only("suffix", &[r#""""#]),
    // Other servers: constrained output.
    only("grammar", &[]),
    only("structured_outputs", &[]),
    only("guided_json", &[]),
    only("guided_regex", &[]),
    only("guided_choice", &[]),
    only("guided_grammar", &[]),
    only("json_schema", &[]),
    // Other servers: choosing tokens.
    only("use_beam_search", &["false"]),
    only("length_penalty", &["1"]),
    only("early_stopping", &["false"]),
    only("typical_p", &["1"]),
    only("xtc_probability", &["0"]),
    only("xtc_threshold", &[]),
    only("mirostat", &["0"]),
    only("bad_words", &["[]"]),
    only("allowed_token_ids", &[]),
    only("logits_processors", &["[]"]),
    only("thinking_token_budget", &[]),
    only("prompt_logprobs", &["false"]),
    // Other servers: text and template.
    only("skip_special_tokens", &["true"]),
    only("spaces_between_special_tokens", &["true"]),
    only("include_stop_str_in_output", &["false"]),
    only("return_tokens_as_token_ids", &["false"]),
    only("truncate_prompt_tokens", &[]),
    only("truncate_sequence", &["false"]),
    only("add_special_tokens", &[]),
    only("add_generation_prompt", &["true"]),
    only("continue_final_message", &["false"]),
    only("chat_template", &[]),
    only("documents", &["[]"]),
    only("priority", &["0"]),
    only("request_id", &[]),
    only("mm_processor_kwargs", &[]),
    // Other servers: adapters, agents and their files.
    only("adapter", &[]),
    only("session_id", &[]),
    only("files", &["[]"]),
    only("enable_shell", &["false"]),
    only("enable_code_execution", &["false"]),
    only("agent_permission", &[]),
    only("code_execution_permission", &[]),
    only("max_tool_rounds", &[]),
];

/// Longest value that is compared with the harmless ones, in bytes.
const HARMLESS_BYTES_MAX: usize = 256;

pub(super) fn is_known(name: &str) -> bool {
    FIELDS.iter().any(|field| field.name == name)
}

/// Decides over a field that the route does not read. `known` are the names it does.
pub(super) fn check(name: &str, value: &str, known: &[&str]) -> Result<(), ApiError> {
    let Some(field) = FIELDS.iter().find(|field| field.name == name) else {
        return Err(unknown(name, known));
    };
    let values = match field.harmless {
        Harmless::Text => return well_formed::<Option<String>>(name, value, "a string"),
        Harmless::Labels => {
            return well_formed::<Option<HashMap<String, String>>>(name, value, "an object of strings");
        }
        Harmless::Values(values) => values,
    };
    if is_harmless(values, value) {
        return Ok(());
    }
    Err(ApiError::unsupported(name, refusal(name, value)))
}

/// A tool or schema is not shown: whoever reads it would try a simpler one.
fn refusal(name: &str, value: &str) -> String {
    match name {
        "tools" | "tool_choice" | "functions" | "function_call" => {
            format!("{name}: tool calls are not supported by this build")
        }
        "response_format" => format!("{name}: formats other than text are not supported by this build"),
        _ => {
            let shown: String = value.chars().take(80).collect();
            let dots = if shown.len() < value.len() { "…" } else { "" };
            format!("{name} = {shown}{dots} is not supported by this build")
        }
    }
}

fn well_formed<T: DeserializeOwned>(name: &str, value: &str, expected: &str) -> Result<(), ApiError> {
    match serde_json::from_str::<T>(value) {
        Ok(_) => Ok(()),
        Err(_) => Err(ApiError::invalid(name, format!("{name} must be {expected}"))),
    }
}

fn is_harmless(values: &[&str], value: &str) -> bool {
    if value.len() > HARMLESS_BYTES_MAX {
        return false;
    }
    let parse = |text: &str| {
        let DistinctValue(value) = serde_json::from_str(text).ok()?;
        Some(with_float_numbers(value))
    };
    let value = parse(value);
    value == Some(Value::Null) || values.iter().any(|harmless| value.is_some() && parse(harmless) == value)
}

/// `1` and `1.0` are the same value.
fn with_float_numbers(value: Value) -> Value {
    match value.as_f64() {
        Some(number) => Value::from(number),
        None => value,
    }
}

fn unknown(name: &str, known: &[&str]) -> ApiError {
    let short = name.len() <= 64;
    let nearest = known.iter().filter(|_| short).min_by_key(|known| strsim::damerau_levenshtein(name, known));
    let near =
        nearest.filter(|known| strsim::damerau_levenshtein(name, known) < name.len().min(2 + name.len() / 4));
    let name: String = name.chars().take(64).collect();
    let hint = near.map(|near| format!("; did you mean {near:?}?")).unwrap_or_default();
    ApiError::invalid(name.as_str(), format!("unknown field {name:?}{hint}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_that_clients_send_pass_and_wishes_are_refused() {
        let cases = [
            ("tools", "[]", "[{}]"),
            ("tool_choice", "\"none\"", "\"required\""),
            ("parallel_tool_calls", "false", "1"),
            ("response_format", r#"{ "type" : "text" }"#, r#"{"type":"json_object"}"#),
            ("response_format", r#"{"type":"text"}"#, r#"{"type":"json_object","type":"text"}"#),
            ("store", "false", "true"),
            ("service_tier", "\"auto\"", "\"priority\""),
            ("length_penalty", "1.0", "0.5"),
            ("suffix", "\"\"", "\"end\""),
            ("audio", "null", "{}"),
        ];
        for (name, harmless, wish) in cases {
            assert_eq!(check(name, harmless, &[]), Ok(()), "{name} = {harmless}");
            assert_eq!(check(name, "null", &[]), Ok(()), "{name} = null");
            let Err(ApiError::Unsupported { param, message }) = check(name, wish, &[]) else {
                panic!("{name} = {wish} passed")
            };
            assert_eq!(param, name);
            assert!(message.contains(name) && message.contains("not supported"), "{message}");
        }
    }

    #[test]
    fn no_tool_or_schema_is_shown_as_the_one_at_fault() {
        for (name, value, expected) in [
            ("tools", r#"[{"type":"function"}]"#, "tools: tool calls are not supported by this build"),
            ("tool_choice", r#""required""#, "tool_choice: tool calls are not supported by this build"),
            (
                "response_format",
                r#"{"type":"json_schema","json_schema":{"name":"x","schema":{}}}"#,
                "response_format: formats other than text are not supported by this build",
            ),
            ("store", "true", "store = true is not supported by this build"),
        ] {
            let refused = ApiError::unsupported(name, expected);
            assert_eq!(check(name, value, &[]), Err(refused));
        }
    }

    #[test]
    fn what_informs_the_service_passes_when_it_is_well_formed() {
        for (name, good, bad) in [
            ("user", r#""me""#, "[]"),
            ("prompt_cache_key", "null", "{}"),
            ("prompt_cache_options", r#"{"mode":"explicit","ttl":"30m"}"#, r#""30m""#),
            ("metadata", r#"{"a":"b"}"#, r#"{"a":[]}"#),
            ("metadata", "null", &"[".repeat(100_000)),
        ] {
            assert_eq!(check(name, good, &[]), Ok(()), "{name} = {good}");
            let Err(ApiError::Invalid { param, .. }) = check(name, bad, &[]) else { panic!("{name} passed") };
            assert_eq!(param.as_deref(), Some(name));
        }
    }

    #[test]
    fn a_far_name_gets_no_suggestion() {
        let Err(ApiError::Invalid { message, .. }) = check("colour", "1", &["seed"]) else { panic!() };
        assert_eq!(message, "unknown field \"colour\"");
        let Err(ApiError::Invalid { message, .. }) = check("x", "1", &["n"]) else { panic!() };
        assert_eq!(message, "unknown field \"x\"");
    }
}
