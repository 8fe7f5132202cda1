//! `/v1/completions`: the whole request.

use super::generation::{Logprobs, ValidGeneration, generation};
use super::{fields, json};
use crate::error::ApiError;
use crate::openai::completion::{CompletionFields, Prompt};
use crate::openai::generation::GenerationFields;

/// OpenAI's default.
const TOKENS_DEFAULT: u64 = 16;
const LOGPROBS_MAX: u64 = 20;
/// Choices of one request, over all prompts.
const CHOICES_MAX: usize = 256;

/// A completion request as it came.
#[derive(Clone, Debug)]
pub struct CompletionRequest {
    pub completion: CompletionFields,
    pub generation: GenerationFields,
}

/// A completion request that can be served.
#[derive(Clone, Debug)]
pub struct ValidCompletion {
    /// At least one; none is empty.
    pub prompts: Vec<Prompt>,
    pub echo: bool,
    pub generation: ValidGeneration,
}

impl CompletionRequest {
    /// Every field the route reads.
    pub fn names() -> Vec<&'static str> {
        [fields::names::<CompletionFields>(), fields::names::<GenerationFields>()].concat()
    }
}

/// Reads and checks a completion request.
///
/// # Errors
/// The body is not a completion request, or a field asks for what cannot be served; the error names it.
pub fn completion(body: &[u8]) -> Result<ValidCompletion, ApiError> {
    let text = json::text(body)?;
    fields::check(text, &CompletionRequest::names())?;
    valid(CompletionRequest { completion: json::part(text)?, generation: json::part(text)? })
}

fn valid(request: CompletionRequest) -> Result<ValidCompletion, ApiError> {
    let CompletionRequest { completion, generation: mut fields } = request;
    if fields.max_tokens.is_none() && fields.max_completion_tokens.is_none() {
        fields.max_tokens = Some(TOKENS_DEFAULT.max(fields.min_tokens.unwrap_or(0)));
    }
    let mut generation = generation(fields)?;
    generation.logprobs = logprobs(&completion)?;
    if completion.best_of.is_some_and(|best_of| best_of != generation.n as u64) {
        return Err(ApiError::unsupported("best_of", "best_of is supported only when it equals n"));
    }
    let echo = completion.echo.unwrap_or(false);
    if echo && generation.logprobs.is_some() {
        return Err(ApiError::unsupported(
            "echo",
            "echo together with logprobs is not supported by this build",
        ));
    }
    let prompts = prompts(completion)?;
    if prompts.len() * generation.n > CHOICES_MAX {
        let message = format!(
            "{} prompts times n = {} are more than {CHOICES_MAX} choices",
            prompts.len(),
            generation.n
        );
        return Err(ApiError::invalid("n", message));
    }
    Ok(ValidCompletion { prompts, echo, generation })
}

fn prompts(completion: CompletionFields) -> Result<Vec<Prompt>, ApiError> {
    let prompts = completion.prompt.ok_or_else(|| ApiError::invalid("prompt", "prompt is missing"))?.0;
    let is_empty = |prompt: &Prompt| match prompt {
        Prompt::Text(text) => text.is_empty(),
        Prompt::Tokens(tokens) => tokens.is_empty(),
    };
    if prompts.is_empty() || prompts.iter().any(is_empty) {
        return Err(ApiError::invalid("prompt", "a prompt must not be empty"));
    }
    Ok(prompts)
}

fn logprobs(completion: &CompletionFields) -> Result<Option<Logprobs>, ApiError> {
    match completion.logprobs {
        Some(logprobs) if logprobs > LOGPROBS_MAX => {
            Err(ApiError::invalid("logprobs", format!("logprobs = {logprobs} is not in 0..={LOGPROBS_MAX}")))
        }
        logprobs => Ok(logprobs.map(|logprobs| Logprobs { top: logprobs as u8, param: "logprobs" })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<ValidCompletion, ApiError> {
        completion(json.as_bytes())
    }

    #[test]
    fn sixteen_tokens_are_the_default() {
        assert_eq!(read(r#"{"prompt":"x"}"#).unwrap().generation.stop.max_tokens, 16);
        assert_eq!(
            read(r#"{"prompt":"x","max_completion_tokens":5}"#).unwrap().generation.stop.max_tokens,
            5
        );
        assert_eq!(read(r#"{"prompt":"x","min_tokens":40}"#).unwrap().generation.stop.max_tokens, 40);
    }

    #[test]
    fn refusals_name_the_field() {
        let many = format!(r#"{{"prompt":[{}],"n":128}}"#, ["\"x\""; 3].join(","));
        let cases = [
            ("{}", "prompt"),
            (r#"{"prompt":""}"#, "prompt"),
            (r#"{"prompt":[]}"#, "prompt"),
            (r#"{"prompt":["x",""]}"#, "prompt"),
            (r#"{"prompt":[1,"x"]}"#, "prompt"),
            (r#"{"prompt":"x","suffix":"y"}"#, "suffix"),
            (r#"{"prompt":"x","best_of":2}"#, "best_of"),
            (r#"{"prompt":"x","logprobs":21}"#, "logprobs"),
            (r#"{"prompt":"x","logprobs":true}"#, "logprobs"),
            (r#"{"prompt":"x","echo":true,"logprobs":1}"#, "echo"),
            (r#"{"prompt":"x","messages":[]}"#, "messages"),
            (&many, "n"),
        ];
        for (json, expected) in cases {
            let (ApiError::Invalid { param: Some(param), .. } | ApiError::Unsupported { param, .. }) =
                read(json).unwrap_err()
            else {
                panic!("{json}")
            };
            assert!(param.starts_with(expected), "{json}: {param}");
        }
        assert!(read(r#"{"prompt":"x","best_of":2,"n":2,"logprobs":0}"#).is_ok());
    }
}
