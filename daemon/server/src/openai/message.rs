//! Chat messages as clients send them.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, SeqAccess, Visitor};
use utoipa::ToSchema;

use super::list::List;

/// Messages a request may hold: each takes up to some twenty times its bytes in the body.
pub const MESSAGES_MAX: usize = 4096;
/// Parts a message may hold.
pub const PARTS_MAX: usize = 4096;
/// Parts that all messages of a request may hold together: each takes some four times its bytes in the body.
pub const PARTS_IN_ALL_MAX: usize = 65_536;

#[derive(Clone, Debug, Deserialize, PartialEq, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Message {
    pub role: Role,
    /// A string, or text parts that are joined in order.
    pub content: Option<Content>,
    pub name: Option<String>,
    /// An assistant's earlier reasoning, for templates that show it.
    pub reasoning_content: Option<String>,
    /// Another name of `reasoning_content`; where both are given they say the same.
    pub reasoning: Option<String>,
    /// Some clients send it; it changes nothing.
    #[serde(rename = "type")]
    pub kind: Option<MessageKind>,
    #[schema(ignore)]
    pub tool_calls: Option<List<Anything, 1024>>,
    #[schema(ignore)]
    pub function_call: Option<Anything>,
    #[schema(ignore)]
    pub tool_call_id: Option<String>,
    #[schema(ignore)]
    pub audio: Option<Anything>,
    /// What an assistant said in place of content; null in the answers of this server.
    pub refusal: Option<String>,
    #[schema(ignore)]
    pub annotations: Option<List<Anything, 1024>>,
    /// What OpenAI's packages have read out of the content.
    #[schema(ignore)]
    pub parsed: Option<Anything>,
    /// For Anthropic's cache of prompts; this one finds prefixes by itself.
    #[schema(ignore)]
    pub cache_control: Option<Anything>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    System,
    /// Treated as `system`.
    Developer,
    User,
    Assistant,
    Tool,
    Function,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MessageKind {
    Message,
    Text,
}

/// Any JSON; it is skipped, not kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Anything;

impl<'de> Deserialize<'de> for Anything {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Anything)
    }
}

#[derive(Clone, Debug, PartialEq, ToSchema)]
#[serde(untagged)] // for the schema; it is read by hand
#[schema(description = "A string or an array of parts.")]
pub enum Content {
    #[schema(title = "text")]
    Text(String),
    #[schema(title = "parts", value_type = Vec<Part>)]
    Parts(Vec<Part>),
}

#[derive(Clone, Debug, Deserialize, PartialEq, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Part {
    #[serde(rename = "type")]
    pub kind: PartKind,
    pub text: Option<String>,
    #[schema(ignore)]
    pub refusal: Option<String>,
    #[schema(ignore)]
    pub image_url: Option<Anything>,
    #[schema(ignore)]
    pub input_audio: Option<Anything>,
    #[schema(ignore)]
    pub audio_url: Option<Anything>,
    #[schema(ignore)]
    pub video_url: Option<Anything>,
    #[schema(ignore)]
    pub file: Option<Anything>,
    /// For OpenAI's cache of prompts; this one finds prefixes by itself.
    #[schema(ignore)]
    pub prompt_cache_breakpoint: Option<Anything>,
    /// Likewise, as clients write it for Anthropic's.
    #[schema(ignore)]
    pub cache_control: Option<Anything>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PartKind {
    Text,
    Refusal,
    ImageUrl,
    InputAudio,
    AudioUrl,
    VideoUrl,
    File,
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ContentVisitor)
    }
}

struct ContentVisitor;

impl<'de> Visitor<'de> for ContentVisitor {
    type Value = Content;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string or an array of content parts")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Content, E> {
        Ok(Content::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, parts: A) -> Result<Content, A::Error> {
        let parts =
            List::<Part, PARTS_MAX>::deserialize(serde::de::value::SeqAccessDeserializer::new(parts))?;
        Ok(Content::Parts(parts.0))
    }
}

/// The messages of a request; one string is one message of the user.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Messages(pub Vec<Message>);

impl<'de> Deserialize<'de> for Messages {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(MessagesVisitor)
    }
}

struct MessagesVisitor;

impl<'de> Visitor<'de> for MessagesVisitor {
    type Value = Messages;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an array of at most {MESSAGES_MAX} messages, or a string")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Messages, E> {
        Ok(Messages(vec![Message::user(text)]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Messages, A::Error> {
        let mut messages = Vec::new();
        let mut parts_in_all = 0;
        while let Some(message) = items.next_element::<Message>()? {
            if messages.len() == MESSAGES_MAX {
                return Err(A::Error::custom(format_args!("more than {MESSAGES_MAX} messages")));
            }
            parts_in_all += message.parts();
            if parts_in_all > PARTS_IN_ALL_MAX {
                return Err(A::Error::custom(format_args!(
                    "more than {PARTS_IN_ALL_MAX} parts in all messages"
                )));
            }
            messages.push(message);
        }
        Ok(Messages(messages))
    }
}

impl Message {
    pub fn user(text: &str) -> Message {
        Message {
            role: Role::User,
            content: Some(Content::Text(text.to_owned())),
            name: None,
            reasoning_content: None,
            reasoning: None,
            kind: None,
            tool_calls: None,
            function_call: None,
            tool_call_id: None,
            audio: None,
            refusal: None,
            annotations: None,
            parsed: None,
            cache_control: None,
        }
    }

    fn parts(&self) -> usize {
        match &self.content {
            Some(Content::Parts(parts)) => parts.len(),
            Some(Content::Text(_)) | None => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_bounded_in_a_message_and_in_all() {
        let read = |messages: usize, parts: usize| {
            let parts = vec![r#"{"type":"text","text":""}"#; parts].join(",");
            let messages = vec![format!(r#"{{"role":"user","content":[{parts}]}}"#); messages].join(",");
            serde_json::from_str::<Messages>(&format!("[{messages}]")).map_err(|error| error.to_string())
        };
        assert!(read(PARTS_IN_ALL_MAX / PARTS_MAX, PARTS_MAX).is_ok());
        for (messages, parts, expected) in [
            (1, PARTS_MAX + 1, "more than 4096 items"),
            (PARTS_IN_ALL_MAX / PARTS_MAX + 1, PARTS_MAX, "more than 65536 parts in all messages"),
            (MESSAGES_MAX + 1, 0, "more than 4096 messages"),
        ] {
            let error = read(messages, parts).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
