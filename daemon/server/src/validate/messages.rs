//! Chat messages: which can be put through a template, and in what form templates get them.

use serde_json::{Map, Value};

use crate::error::ApiError;
use crate::openai::message::{Content, Message, Messages, Part, PartKind, Role};

/// Turns wire messages into what chat templates read: objects with `role` and `content` as strings.
///
/// # Errors
/// No message, content that is missing, or something other than text; the error names the message.
pub fn messages(messages: Option<Messages>) -> Result<Vec<Value>, ApiError> {
    let messages = messages.ok_or_else(|| ApiError::invalid("messages", "messages is missing"))?.0;
    if messages.is_empty() {
        return Err(ApiError::invalid("messages", "messages must hold at least one message"));
    }
    messages.into_iter().enumerate().map(|(index, message)| templated(index, message)).collect()
}

fn templated(index: usize, mut message: Message) -> Result<Value, ApiError> {
    let at = |field: &str| format!("messages[{index}].{field}");
    refuse_tools(&at, &message)?;
    let content = said(&at, &mut message)?;
    let reasoning = reasoning(&at, &mut message)?;
    let mut object = Map::new();
    object.insert("role".into(), role(message.role).into());
    object.insert("content".into(), text(&at("content"), content)?.into());
    for (name, value) in [("name", message.name), ("reasoning_content", reasoning)] {
        if let Some(value) = value {
            object.insert(name.into(), value.into());
        }
    }
    Ok(Value::Object(object))
}

fn refuse_tools(at: &dyn Fn(&str) -> String, message: &Message) -> Result<(), ApiError> {
    let unsupported = |field: &str, what: &str| {
        Err(ApiError::unsupported(at(field), format!("{what} are not supported by this build")))
    };
    match message {
        Message { role: Role::Tool | Role::Function, .. } => unsupported("role", "messages of tools"),
        Message { tool_calls: Some(calls), .. } if !calls.0.is_empty() => {
            unsupported("tool_calls", "tool calls")
        }
        Message { function_call: Some(_), .. } => unsupported("function_call", "function calls"),
        Message { tool_call_id: Some(_), .. } => unsupported("tool_call_id", "tool calls"),
        Message { audio: Some(_), .. } => unsupported("audio", "audio answers"),
        _ => Ok(()),
    }
}

/// `developer` is OpenAI's newer word for `system`, which is what templates know.
fn role(role: Role) -> &'static str {
    match role {
        Role::System | Role::Developer => "system",
        Role::User => "user",
        Role::Assistant => "assistant",
        Role::Tool | Role::Function => "tool",
    }
}

/// The content, or the refusal that an assistant said in its place: templates know no refusals.
fn said(at: &dyn Fn(&str) -> String, message: &mut Message) -> Result<Content, ApiError> {
    let refusal = message.refusal.take().filter(|refusal| !refusal.is_empty());
    match (message.content.take(), refusal) {
        (Some(content), None) => Ok(content),
        (None, None) => {
            Err(ApiError::invalid(at("content"), "a message needs content: a string or text parts"))
        }
        (_, Some(_)) if message.role != Role::Assistant => {
            Err(ApiError::invalid(at("refusal"), "only messages of the assistant have a refusal"))
        }
        (None, Some(refusal)) => Ok(Content::Text(refusal)),
        (Some(Content::Text(text)), Some(refusal)) if text.is_empty() => Ok(Content::Text(refusal)),
        (Some(Content::Parts(parts)), Some(refusal)) if parts.is_empty() => Ok(Content::Text(refusal)),
        (Some(_), Some(_)) => {
            Err(ApiError::invalid(at("refusal"), "a message has either content or a refusal"))
        }
    }
}

/// Servers that answer with both names get both back.
fn reasoning(at: &dyn Fn(&str) -> String, message: &mut Message) -> Result<Option<String>, ApiError> {
    match (message.reasoning_content.take(), message.reasoning.take()) {
        (Some(one), Some(other)) if one != other => {
            Err(ApiError::invalid(at("reasoning"), "reasoning says something else than reasoning_content"))
        }
        (one, other) => Ok(one.or(other)),
    }
}

fn text(param: &str, content: Content) -> Result<String, ApiError> {
    let parts = match content {
        Content::Text(text) => return Ok(text),
        Content::Parts(parts) => parts,
    };
    let mut text = String::new();
    for (index, part) in parts.into_iter().enumerate() {
        text.push_str(&part_text(&format!("{param}[{index}]"), part)?);
    }
    Ok(text)
}

fn part_text(param: &str, part: Part) -> Result<String, ApiError> {
    let Part { kind, text, refusal, image_url, input_audio, audio_url, video_url, file, .. } = &part;
    let fields = [
        (text.is_some(), "text", PartKind::Text),
        (refusal.is_some(), "refusal", PartKind::Refusal),
        (image_url.is_some(), "image_url", PartKind::ImageUrl),
        (input_audio.is_some(), "input_audio", PartKind::InputAudio),
        (audio_url.is_some(), "audio_url", PartKind::AudioUrl),
        (video_url.is_some(), "video_url", PartKind::VideoUrl),
        (file.is_some(), "file", PartKind::File),
    ];
    if let Some((_, field, _)) = fields.into_iter().find(|(given, _, of)| *given && of != kind) {
        let message = format!("{param}: a part of another type has {field}");
        return Err(ApiError::invalid(format!("{param}.{field}"), message));
    }
    match part.kind {
        PartKind::Text => {
            part.text.ok_or_else(|| ApiError::invalid(format!("{param}.text"), "a text part needs text"))
        }
        PartKind::Refusal => part
            .refusal
            .ok_or_else(|| ApiError::invalid(format!("{param}.refusal"), "a refusal part needs refusal")),
        kind => {
            let kind = match kind {
                PartKind::ImageUrl => "images",
                PartKind::VideoUrl => "videos",
                PartKind::File => "files",
                _ => "audio",
            };
            Err(ApiError::unsupported(param, format!("{kind} in messages are not supported by this build")))
        }
    }
}

/// The text of a templated message, for logs and tests.
pub fn text_of(message: &Value) -> &str {
    message["content"].as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(value: Value) -> Result<Vec<Value>, ApiError> {
        messages(Some(serde_json::from_value(value).unwrap()))
    }

    #[test]
    fn parts_keep_their_order_and_nothing_is_put_between() {
        let parts = json!([{"type": "text", "text": "a "}, {"type": "text", "text": "b"}]);
        let read = read(json!([{"role": "developer", "content": parts}])).unwrap();
        assert_eq!(read, [json!({"role": "system", "content": "a b"})]);
    }

    #[test]
    fn marks_for_the_caches_of_others_change_nothing() {
        let parts = json!([{"type": "text", "text": "a", "prompt_cache_breakpoint": {"mode": "explicit"}},
            {"type": "text", "text": "b", "cache_control": {"type": "ephemeral"}}]);
        let message = json!({"role": "user", "content": parts, "cache_control": {"type": "ephemeral"}});
        assert_eq!(read(json!([message])).unwrap(), [json!({"role": "user", "content": "ab"})]);
    }

    #[test]
    fn a_string_is_one_message_of_the_user() {
        assert_eq!(read(json!("Hi")).unwrap(), [json!({"role": "user", "content": "Hi"})]);
    }

    #[test]
    fn an_answer_can_be_sent_back_as_it_came() {
        let expected = json!({"role": "assistant", "content": "Hi", "reasoning_content": "hm"});
        for parsed in [json!(null), json!({"a": [1]})] {
            let answer = json!({"role": "assistant", "content": "Hi", "refusal": null, "tool_calls": null,
                "function_call": null, "audio": null, "annotations": [], "parsed": parsed, "reasoning_content": "hm"});
            assert_eq!(read(json!([answer])).unwrap(), std::slice::from_ref(&expected));
        }
    }

    #[test]
    fn reasoning_has_two_names_and_a_type_says_nothing() {
        let expected = json!({"role": "assistant", "content": "Hi", "reasoning_content": "hm"});
        for fields in [
            json!({"reasoning_content": "hm", "type": "text"}),
            json!({"reasoning": "hm", "type": "message"}),
            json!({"reasoning_content": "hm", "reasoning": "hm", "type": null}),
            json!({"reasoning_content": null, "reasoning": "hm"}),
        ] {
            let mut message = json!({"role": "assistant", "content": "Hi"});
            message.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
            assert_eq!(read(json!([message])).unwrap(), std::slice::from_ref(&expected), "{fields}");
        }
    }

    #[test]
    fn a_refusal_is_what_the_assistant_said() {
        let expected = json!({"role": "assistant", "content": "No."});
        for message in [
            json!({"role": "assistant", "refusal": "No."}),
            json!({"role": "assistant", "content": null, "refusal": "No."}),
            json!({"role": "assistant", "content": "", "refusal": "No."}),
            json!({"role": "assistant", "content": [], "refusal": "No."}),
            json!({"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}),
            json!({"role": "assistant", "content": "No.", "refusal": ""}),
        ] {
            assert_eq!(read(json!([message])).unwrap(), std::slice::from_ref(&expected), "{message}");
        }
    }

    #[test]
    fn what_is_not_text_is_refused_by_its_place() {
        let cases = [
            (
                json!([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]),
                "[0].content[0]",
            ),
            (json!([{"role": "user", "content": "x"}, {"role": "tool", "content": "x"}]), "[1].role"),
            (json!([{"role": "assistant", "content": "x", "tool_calls": [{"id": 1}]}]), "[0].tool_calls"),
            (json!([{"role": "user"}]), "[0].content"),
            (
                json!([{"role": "assistant", "content": "x", "reasoning_content": "a", "reasoning": "b"}]),
                "[0].reasoning",
            ),
            (json!([{"role": "assistant", "content": "x", "refusal": "y"}]), "[0].refusal"),
            (json!([{"role": "user", "content": "x", "refusal": "y"}]), "[0].refusal"),
            (json!([{"role": "user", "content": [{"type": "text"}]}]), "[0].content[0].text"),
            (
                json!([{"role": "user", "content": [{"type": "text", "text": "a", "image_url": "x"}]}]),
                "[0].content[0].image_url",
            ),
        ];
        for (value, place) in cases {
            let (ApiError::Unsupported { param, .. } | ApiError::Invalid { param: Some(param), .. }) =
                read(value.clone()).unwrap_err()
            else {
                panic!("{value}")
            };
            assert_eq!(param, format!("messages{place}"));
        }
    }
}
