//! One request and what its client sees of the answer: when the first token came, when the last, how many.

mod stream;

use std::time::Duration;

use anyhow::{Context, bail};
use reqwest::{Response, StatusCode};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::prompts::Prompts;
use crate::terminal::line;
use stream::read_answer;

const CONNECT_LIMIT: Duration = Duration::from_secs(10);
const REQUEST_LIMIT: Duration = Duration::from_secs(600);

/// Of a body that is no stream.
const BODY_BYTES_MAX: usize = 1 << 20;

/// Words of the two prompts that show how the server counts tokens.
const PROBE_WORDS: [u32; 2] = [16, 80];

#[derive(Clone)]
pub(super) struct Client {
    http: reqwest::Client,
    base: String,
    pub(super) model: String,
    dialect: Dialect,
}

/// Fields beyond the protocol's oldest that the server takes.
#[derive(Clone, Copy)]
struct Dialect {
    ignore_eos: bool,
    include_usage: bool,
}

pub(super) struct Request {
    pub(super) prompt: String,
    pub(super) max_tokens: u32,
}

/// Times from the moment the request was due.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) first_token: Duration,
    pub(super) last_token: Duration,
    /// Between pieces of text as they came; 0 between those that came together.
    pub(super) gaps: Vec<Duration>,
    pub(super) end: Duration,
    pub(super) tokens: u32,
    pub(super) tokens_by: TokensBy,
    /// `None`: the server gives no usage.
    pub(super) prompt_tokens: Option<u32>,
    /// Of these, what the server had in its cache; `None`: it does not tell.
    pub(super) cached_tokens: Option<u32>,
}

/// Who counted the tokens of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum TokensBy {
    Usage,
    /// Pieces of text stand for tokens: the server gives no usage, or one beyond what was asked for.
    Pieces,
}

/// Grouped by kind in the report.
#[derive(Debug, thiserror::Error)]
pub(super) enum RequestError {
    #[error("connection failed")]
    Connect(#[source] reqwest::Error),
    #[error("no answer within {} s", REQUEST_LIMIT.as_secs())]
    Timeout,
    #[error("status {}", .0.as_u16())]
    Status(StatusCode, String),
    #[error("the stream was cut")]
    Cut,
    #[error("an error in the stream")]
    InStream(String),
    #[error("not a stream of completions")]
    NotAStream(String),
    #[error("no text")]
    Empty,
}

impl RequestError {
    /// What the server said, or the system; fit to be printed.
    pub(super) fn detail(&self) -> Option<String> {
        match self {
            RequestError::Connect(error) => Some(line(&deepest(error))),
            RequestError::Status(_, text) | RequestError::InStream(text) | RequestError::NotAStream(text) => {
                Some(line(text)).filter(|text| !text.is_empty())
            }
            RequestError::Timeout | RequestError::Cut | RequestError::Empty => None,
        }
    }

    fn of(error: reqwest::Error) -> RequestError {
        match error {
            error if error.is_connect() => RequestError::Connect(error),
            error if error.is_timeout() => RequestError::Timeout,
            _ => RequestError::Cut,
        }
    }
}

fn deepest(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), deepest)
}

/// `http://host:port` of an address that may end in `/` or `/v1`.
pub(super) fn base(url: &str) -> Result<String, String> {
    let parsed = reqwest::Url::parse(url).map_err(|error| error.to_string())?;
    if !["http", "https"].contains(&parsed.scheme()) || !parsed.has_host() {
        return Err("must start with http:// or https://".to_owned());
    }
    let url = parsed.as_str().trim_end_matches('/');
    Ok(url.strip_suffix("/v1").unwrap_or(url).to_owned())
}

impl Client {
    pub(super) fn new(base: String) -> anyhow::Result<Client> {
        // Some servers close a connection after a stream and do not say so: a request sent on it is lost.
        let http = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0);
        let http = http.connect_timeout(CONNECT_LIMIT).timeout(REQUEST_LIMIT).build();
        let http = http.context("cannot make a client")?;
        let dialect = Dialect { ignore_eos: true, include_usage: true };
        Ok(Client { http, base, model: String::new(), dialect })
    }

    pub(super) async fn first_model(&self) -> anyhow::Result<String> {
        let response = self.http.get(format!("{}/v1/models", self.base)).send().await;
        let mut response = response.map_err(|error| anyhow::anyhow!(deepest(&error)))?;
        if !response.status().is_success() {
            bail!("/v1/models answers with status {}; name the model by --model", response.status().as_u16());
        }
        let body = read_body(&mut response).await?;
        if body.len() > BODY_BYTES_MAX {
            bail!("/v1/models answers with more than {BODY_BYTES_MAX} bytes; name the model by --model");
        }
        let list: Value = ostro_json::from_slice(&body).unwrap_or_default();
        let id = list["data"][0]["id"].as_str();
        id.map(str::to_owned).context("/v1/models lists none; name the model by --model")
    }

    /// Finds out which fields the server takes, and how it counts tokens.
    pub(super) async fn learn(&mut self, prompts: &mut Prompts) -> Result<(), RequestErrorText> {
        let mut counted = Vec::new();
        for words in PROBE_WORDS {
            let answer = loop {
                let prompt = prompts.words(words);
                match self.send(Request { prompt, max_tokens: 2 }, Instant::now()).await {
                    Err(RequestError::Status(
                        StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY,
                        _,
                    )) if self.dialect.shrink() => {}
                    outcome => break outcome.map_err(RequestErrorText)?,
                }
            };
            counted.extend(answer.prompt_tokens.map(|tokens| (words, tokens)));
        }
        if let [few, many] = counted[..] {
            prompts.calibrate(few, many);
        }
        Ok(())
    }

    /// False of a server that refuses the field: its answers may be shorter than asked.
    pub(super) fn ignores_eos(&self) -> bool {
        self.dialect.ignore_eos
    }

    /// Sends one request and reads its answer to the end. What it waited since it was `due` counts.
    pub(super) async fn send(&self, request: Request, due: Instant) -> Result<Answer, RequestError> {
        let body = self.body(&request).to_string();
        let url = format!("{}/v1/chat/completions", self.base);
        let post = self.http.post(url).header("content-type", "application/json").body(body);
        let mut response = post.send().await.map_err(RequestError::of)?;
        if !response.status().is_success() {
            let body = read_body(&mut response).await.unwrap_or_default();
            let text = String::from_utf8_lossy(&body);
            return Err(RequestError::Status(response.status(), error_message(&text)));
        }
        read_answer(response, due, request.max_tokens).await
    }

    fn body(&self, request: &Request) -> Value {
        let mut body = json!({
            "model": self.model,
            "messages": [{"role": "user", "content": request.prompt}],
            "stream": true,
            "temperature": 0,
            "max_tokens": request.max_tokens,
        });
        if self.dialect.ignore_eos {
            body["ignore_eos"] = json!(true);
        }
        if self.dialect.include_usage {
            body["stream_options"] = json!({"include_usage": true});
        }
        body
    }
}

/// Error and detail in one line.
#[derive(Debug)]
pub(super) struct RequestErrorText(RequestError);

impl std::fmt::Display for RequestErrorText {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}", self.0)?;
        self.0.detail().map_or(Ok(()), |detail| write!(formatter, ": {detail}"))
    }
}

impl std::error::Error for RequestErrorText {}

impl Dialect {
    /// Drops a field that a server may refuse; false when none is left.
    fn shrink(&mut self) -> bool {
        let dropped = self.ignore_eos || self.include_usage;
        if self.ignore_eos {
            self.ignore_eos = false;
        } else {
            self.include_usage = false;
        }
        dropped
    }
}

/// The body to its end, or to where it is longer than `BODY_BYTES_MAX`.
async fn read_body(response: &mut Response) -> reqwest::Result<Vec<u8>> {
    let mut body = Vec::new();
    while body.len() <= BODY_BYTES_MAX
        && let Some(bytes) = response.chunk().await?
    {
        body.extend_from_slice(&bytes);
    }
    Ok(body)
}

/// The message of an error body, or its first line.
fn error_message(text: &str) -> String {
    let value: Value = ostro_json::from_slice(text.as_bytes()).unwrap_or_default();
    let message =
        value["error"]["message"].as_str().or(value["error"].as_str()).or(value["message"].as_str());
    message.unwrap_or(text).lines().next().unwrap_or_default().chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_command_no_terminal() {
        let check =
            |error: RequestError, expected: &str| assert_eq!(error.detail().as_deref(), Some(expected));
        let text = "\x1b[2Jé\u{9b}\r\u{200f}".to_owned();
        let shown = "\\u{1b}[2Jé\\u{9b}\\r\\u{200f}";
        check(RequestError::NotAStream(text.clone()), shown);
        check(RequestError::InStream(text.clone()), shown);
        check(RequestError::Status(StatusCode::NOT_FOUND, text), shown);
    }
}
