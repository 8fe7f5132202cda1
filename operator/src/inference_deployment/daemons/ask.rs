//! One question to one daemon, `GET /v1/models`, over a plain connection of its own: no proxy is asked, no redirection
//! is followed, and an answer has a limit.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use ostro_crds::ModelState;
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::Told;
use crate::shortened::shortened;
use crate::terminal::without_controls;

/// Far more than the models of a pod need.
const ANSWER_BYTES_MAX: usize = 1 << 16;
/// Of what a status tells of one of at most 16 models.
const MESSAGE_BYTES_MAX: usize = 1024;

/// A connection to a daemon.
pub(crate) trait Connection: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Connection for S {}

/// How a daemon is reached.
pub(crate) type Dial =
    Arc<dyn Fn(SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Connection>>> + Send + Sync>;

/// By TCP.
pub(crate) fn dial() -> Dial {
    Arc::new(|address| {
        let stream = TcpStream::connect(address);
        stream.map(|stream| stream.map(|stream| Box::new(stream) as Box<dyn Connection>)).boxed()
    })
}

#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    #[error("cannot connect to a daemon")]
    Dial(#[source] io::Error),
    #[error("a daemon does not speak HTTP")]
    Exchange(#[source] hyper::Error),
    #[error("a daemon answers with status {0}")]
    Status(StatusCode),
    #[error("a daemon's answer breaks off, or is too long")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("a daemon's answer is no list of models")]
    List(#[source] serde_json::Error),
}

/// What the daemon says of the models `ids`; without those that it does not have.
pub(super) async fn ask(dial: &Dial, address: SocketAddr, ids: &[String]) -> Result<Vec<Told>, AskError> {
    let stream = dial(address).await.map_err(AskError::Dial)?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(AskError::Exchange)?;
    let mut request = Request::new(Empty::<Bytes>::new());
    *request.uri_mut() = "/v1/models".parse().expect("it is a path");
    let host = address.to_string().parse().expect("an address is a header's value");
    request.headers_mut().insert(HOST, host);
    let mut exchange = pin!(async move {
        let response = sender.send_request(request).await.map_err(AskError::Exchange)?;
        if response.status() != StatusCode::OK {
            return Err(AskError::Status(response.status()));
        }
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        Ok(body.map_err(AskError::Body)?.to_bytes())
    });
    // The connection may end before its answer is read.
    let bytes = tokio::select! {
        bytes = &mut exchange => bytes,
        _ = connection => exchange.await,
    }?;
    read(&bytes, ids)
}

#[derive(Deserialize)]
struct List {
    data: Vec<Card>,
}

#[derive(Deserialize)]
struct Card {
    id: String,
    #[serde(default)]
    aliases: Vec<String>,
    status: State,
    progress: Option<f32>,
    stage: Option<String>,
    error: Option<String>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Loading,
    Loaded,
    Failed,
    #[serde(other)]
    Unknown,
}

/// A daemon calls a model that is given as a path by another name, and has the path as an alias.
fn read(bytes: &[u8], ids: &[String]) -> Result<Vec<Told>, AskError> {
    let List { data } = serde_json::from_slice(bytes).map_err(AskError::List)?;
    let card = |id: &String| data.iter().find(|card| card.id == *id || card.aliases.contains(id));
    let told = ids.iter().filter_map(|id| Some(card(id)?.told(id)));
    Ok(told.collect())
}

impl Card {
    fn told(&self, id: &str) -> Told {
        let (state, message) = match self.status {
            State::Loading => (Some(ModelState::Loading), self.step()),
            State::Loaded => (Some(ModelState::Loaded), None),
            State::Failed => (Some(ModelState::Failed), self.error.as_deref().map(short)),
            State::Unknown => (None, None),
        };
        Told { id: id.to_owned(), state, message }
    }

    /// In tenths, since every other message is a write of the status.
    fn step(&self) -> Option<String> {
        let stage = short(self.stage.as_deref()?);
        Some(match self.progress {
            Some(progress) if (0.1..=1.0).contains(&progress) => {
                format!("{stage}, {} %", (progress * 10.0).floor() * 10.0)
            }
            _ => stage,
        })
    }
}

/// On one line, and nothing but text: a status shows it to whoever asks.
fn short(text: &str) -> String {
    let line = without_controls(text).split_whitespace().collect::<Vec<_>>().join(" ");
    shortened(&line, MESSAGE_BYTES_MAX).into_owned()
}

#[cfg(test)]
mod tests;
