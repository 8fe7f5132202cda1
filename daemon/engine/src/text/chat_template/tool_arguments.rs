//! The form in which a template wants `tool_calls[].function.arguments`.
//!
//! OpenAI's form is a string that holds JSON. Most templates were written for an object
//! (`arguments | tojson`, `arguments.items()`), some for the string. Each template is asked once, at
//! load, by rendering a call with one argument in both forms and looking at what comes out.

use std::time::UNIX_EPOCH;

use serde_json::{Map, Value as Json, json};

use super::{ChatPrompt, ChatTemplate, TemplateError};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ArgumentsForm {
    Text,
    Object,
}

impl ArgumentsForm {
    /// # Errors
    /// The template does not end.
    pub(super) fn of(template: &ChatTemplate) -> Result<Self, TemplateError> {
        let arguments = json!({ "probe_key": "probe_value" });
        // As text the key must come out quoted once, neither escaped again nor spelt by Python.
        let text = rendered(template, Json::String(arguments.to_string()))?;
        let text_is_right = text.is_some_and(|text| text.contains(r#""probe_key""#));
        let object = rendered(template, arguments)?;
        let object_is_right =
            object.is_some_and(|text| text.contains("probe_key") && !text.contains("'probe_key'"));
        Ok(if text_is_right || !object_is_right { ArgumentsForm::Text } else { ArgumentsForm::Object })
    }

    /// The messages with arguments in this form; `None` when they already are.
    pub(super) fn converted(self, messages: &[Json]) -> Option<Vec<Json>> {
        let has_calls = messages.iter().any(|message| message["tool_calls"].is_array());
        if self == ArgumentsForm::Text || !has_calls {
            return None;
        }
        let mut messages = messages.to_vec();
        for message in &mut messages {
            let calls = message.get_mut("tool_calls").and_then(Json::as_array_mut);
            for call in calls.into_iter().flatten() {
                parse_arguments(call);
            }
        }
        Some(messages)
    }
}

/// Arguments that are not a JSON object stay the text they are.
fn parse_arguments(call: &mut Json) {
    let Some(arguments) = call.pointer_mut("/function/arguments") else { return };
    let parsed =
        arguments.as_str().and_then(|text| ostro_json::from_slice::<Map<String, Json>>(text.as_bytes()).ok());
    if let Some(parsed) = parsed {
        *arguments = Json::Object(parsed);
    }
}

/// None: the template refuses the probe.
fn rendered(template: &ChatTemplate, arguments: Json) -> Result<Option<String>, TemplateError> {
    let call = json!({
        "id": "call00001", "type": "function",
        "function": { "name": "probe", "arguments": arguments },
    });
    let messages = [
        json!({ "role": "user", "content": "probe" }),
        json!({ "role": "assistant", "content": "", "tool_calls": [call] }),
    ];
    let prompt = ChatPrompt {
        messages: &messages,
        tools: &[],
        add_generation_prompt: false,
        arguments: &Map::new(),
        now: UNIX_EPOCH,
    };
    match template.render_as_is(&prompt) {
        Err(TemplateError::TooSlow) => Err(TemplateError::TooSlow),
        rendered => Ok(rendered.ok()),
    }
}
