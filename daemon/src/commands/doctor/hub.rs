//! Whether the model hub answers: one small request, no token, nothing of the answer's body.

use std::time::Duration;

use anyhow::Context;
use reqwest::Client;
use serde::Serialize;

use crate::environment::Offline;
use crate::failure::Failure;

const LIMIT: Duration = Duration::from_secs(10);

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answer {
    /// The environment says that it is not to be used.
    NotAsked,
    Status(u16),
    Unreachable(String),
}

pub(super) fn ask(address: &str, offline: Offline) -> Result<Answer, Failure> {
    if offline == Offline::Yes {
        return Ok(Answer::NotAsked);
    }
    let client = Client::builder()
        .user_agent(concat!("ostro/", env!("CARGO_PKG_VERSION")))
        .timeout(LIMIT)
        .build()
        .context("cannot make a client")?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    let url = format!("{}/api/models?limit=1", address.trim_end_matches('/'));
    Ok(match runtime.block_on(async { client.get(url).send().await }) {
        Ok(response) => Answer::Status(response.status().as_u16()),
        Err(error) if error.is_timeout() => {
            Answer::Unreachable(format!("no answer within {} s", LIMIT.as_secs()))
        }
        Err(error) => Answer::Unreachable(anyhow::Error::new(error).root_cause().to_string()),
    })
}
