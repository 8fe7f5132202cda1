//! Chat messages to prompt text, by the model's own Jinja template.
//!
//! Renders as `transformers` does (same whitespace rules, functions, filters and variables), inside
//! bounds: time, instructions, output bytes, recursion and template size are limited, and a template can
//! reach nothing but its variables. Not bounded is the memory of a template that doubles a string
//! again and again; templates come from the model's files or from the operator, never from a request.

mod environment;
mod json;
mod tool_arguments;
mod watched;

use std::io;
use std::time::{Duration, SystemTime};

use minijinja::{Environment, Value};
use serde_json::{Map, Value as Json};
use thiserror::Error;

use self::environment::{OutputTooLong, RaisedByTemplate};
use self::tool_arguments::ArgumentsForm;
use self::watched::{Failure, Size, Watched};

pub const TEMPLATE_BYTES_MAX: usize = 1 << 20;
/// Prompt text of a million tokens is about 4 MiB.
pub const OUTPUT_BYTES_MAX: usize = 32 << 20;
/// Template instructions; a message costs some hundreds.
pub const INSTRUCTIONS_MAX: u64 = 20_000_000;
/// Lists that are joined lazily cost time, but no instructions.
pub const TIME_MAX: Duration = Duration::from_secs(10);
const RECURSION_MAX: usize = 120;
/// Of a small conversation, what a template copies that adds message after message to one text: well below a second.
/// Larger ones may take minutes by that, without many instructions.
const SMALL_COPIES_BYTES_MAX: usize = 256 << 20;

const DEFAULT: &str = "default";
const TOOL_USE: &str = "tool_use";

/// What a template is rendered with. Messages and tools are in OpenAI's form.
#[derive(Clone, Copy, Debug)]
pub struct ChatPrompt<'a> {
    pub messages: &'a [Json],
    /// Empty: the template sees `none`.
    pub tools: &'a [Json],
    /// End with the beginning of an assistant message.
    pub add_generation_prompt: bool,
    /// Further variables (`enable_thinking`, `reasoning_effort`, `documents`, …). They may replace the special
    /// tokens and the date, not the fields above.
    pub arguments: &'a Map<String, Json>,
    /// For `strftime_now` and `date_string`, in UTC.
    pub now: SystemTime,
}

#[derive(Debug, Error, PartialEq)]
pub enum TemplateError {
    #[error("the model has no chat template")]
    Missing,
    #[error("chat template \"{name}\" is {bytes} bytes long, more than {TEMPLATE_BYTES_MAX}")]
    TooLarge { name: String, bytes: usize },
    #[error("chat template \"{name}\" line {line}: {message}")]
    Syntax { name: String, line: usize, message: String },
    /// The template itself refused the messages, by `raise_exception`.
    #[error("the chat template refuses the messages (line {line}): {message}")]
    Raised { line: usize, message: String },
    #[error("chat template line {line}: {message}")]
    Render { line: usize, message: String },
    #[error("the chat template ran for more than {INSTRUCTIONS_MAX} instructions (line {line})")]
    TooCostly { line: usize },
    #[error("the chat template did not end within {TIME_MAX:?}, or others of its kind still run")]
    TooSlow,
    #[error("the chat template could not be run; the log has more")]
    Broken,
    #[error("the chat template wrote more than {OUTPUT_BYTES_MAX} bytes")]
    OutputTooLong,
}

/// Texts of the tokens that templates name. Those a model lacks are undefined in the template.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TemplateTokens {
    pub bos: Option<String>,
    pub eos: Option<String>,
    pub unk: Option<String>,
    pub pad: Option<String>,
}

/// A model's chat templates, compiled. Most models have one; some a second for tools.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Watched<Environment<'static>>,
    tokens: TemplateTokens,
    arguments_form: ArgumentsForm,
}

impl ChatTemplate {
    /// `templates` are name and source; `default` is rendered, `tool_use` instead when there are tools.
    pub fn new(templates: Vec<(String, String)>, tokens: TemplateTokens) -> Result<Self, TemplateError> {
        if templates.is_empty() {
            return Err(TemplateError::Missing);
        }
        let alone = templates.len() == 1;
        let mut environment = environment::environment();
        for (name, source) in templates {
            let name = if alone { DEFAULT.to_owned() } else { name };
            if source.len() > TEMPLATE_BYTES_MAX {
                return Err(TemplateError::TooLarge { name, bytes: source.len() });
            }
            let source = environment::without_generation_tags(&source);
            environment.add_template_owned(name.clone(), source).map_err(|error| TemplateError::Syntax {
                name,
                line: error.line().unwrap_or(0),
                message: message(&error),
            })?;
        }
        let environment = Watched::new(environment, TIME_MAX);
        let mut template = ChatTemplate { environment, tokens, arguments_form: ArgumentsForm::Text };
        template.arguments_form = ArgumentsForm::of(&template)?;
        Ok(template)
    }

    pub fn single(source: &str, tokens: TemplateTokens) -> Result<Self, TemplateError> {
        Self::new(vec![(DEFAULT.to_owned(), source.to_owned())], tokens)
    }

    pub fn render(&self, prompt: &ChatPrompt<'_>) -> Result<String, TemplateError> {
        match self.arguments_form.converted(prompt.messages) {
            Some(messages) => self.render_as_is(&ChatPrompt { messages: &messages, ..*prompt }),
            None => self.render_as_is(prompt),
        }
    }

    fn render_as_is(&self, prompt: &ChatPrompt<'_>) -> Result<String, TemplateError> {
        let names: &[&str] = if prompt.tools.is_empty() { &[DEFAULT] } else { &[TOOL_USE, DEFAULT] };
        let variables = environment::variables(&self.tokens, prompt);
        let rendered =
            self.environment.run(size(prompt), move |environment| render(environment, names, variables));
        rendered.unwrap_or_else(|failure| match failure {
            Failure::Late => Err(TemplateError::TooSlow),
            Failure::Broken => Err(TemplateError::Broken),
        })
    }
}

fn size(prompt: &ChatPrompt<'_>) -> Size {
    let values = prompt.messages.iter().chain(prompt.tools).chain(prompt.arguments.values());
    let bytes: usize = values.map(json::text_bytes).sum();
    match prompt.messages.len().saturating_mul(bytes) <= SMALL_COPIES_BYTES_MAX {
        true => Size::Small,
        false => Size::Large,
    }
}

/// The first template of these names that is there.
fn render(environment: &Environment<'_>, names: &[&str], variables: Value) -> Result<String, TemplateError> {
    let found = names.iter().find_map(|name| environment.get_template(name).ok());
    let mut output = BoundedOutput::default();
    let rendered = found.ok_or(TemplateError::Missing)?.render_captured_to(variables, &mut output);
    match rendered.err().map(render_error) {
        _ if output.overflowed => Err(TemplateError::OutputTooLong),
        Some(error) => Err(error),
        None => Ok(String::from_utf8(output.bytes).expect("a template writes only text")),
    }
}

#[derive(Default)]
struct BoundedOutput {
    bytes: Vec<u8>,
    overflowed: bool,
}

impl io::Write for BoundedOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > OUTPUT_BYTES_MAX {
            self.overflowed = true;
            return Err(io::Error::other("output limit"));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn render_error(error: minijinja::Error) -> TemplateError {
    let line = error.line().unwrap_or(0);
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(cause) = source {
        if let Some(RaisedByTemplate(message)) = cause.downcast_ref() {
            return TemplateError::Raised { line, message: message.clone() };
        }
        if cause.is::<OutputTooLong>() {
            return TemplateError::OutputTooLong;
        }
        if cause
            .downcast_ref::<minijinja::Error>()
            .is_some_and(|e| e.kind() == minijinja::ErrorKind::OutOfFuel)
        {
            return TemplateError::TooCostly { line };
        }
        source = cause.source();
    }
    TemplateError::Render { line, message: message(&error) }
}

/// Kind and detail, without the position that the caller reports itself.
fn message(error: &minijinja::Error) -> String {
    match error.detail() {
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
    }
}

#[cfg(test)]
mod tests;
