//! `ostro-e2e hub serve`: folders of this machine as repositories of a model hub, for what has no way to the real one.
//!
//! Speaks what the daemon asks of a hub: the files of a revision, and each file's description and bytes. Refuses as
//! the hub does, by status and `x-error-code`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path as Parts, Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_LENGTH, ETAG, RANGE};
use axum::http::{HeaderMap, Response, StatusCode};
use axum::middleware::{self, Next};
use axum::routing::get;
use clap::{Args, Subcommand};
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;

use crate::download::hex;

#[derive(Subcommand, Debug)]
pub enum Command {
    /// Answer as a hub until killed; prints the address for HF_ENDPOINT.
    Serve(Serve),
}

#[derive(Args, Debug)]
pub struct Serve {
    /// Where to answer; port 0 is any that is free.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// A repository and the folder that has its files.
    #[arg(long = "model", value_name = "ID=FOLDER", required = true, value_parser = parse_model)]
    models: Vec<(String, PathBuf)>,
    /// A repository whose files nobody gets, since nobody has accepted its terms.
    #[arg(long, value_name = "ID")]
    gated: Vec<String>,
    /// Any other token is refused; requests without one are answered.
    #[arg(long, value_name = "TOKEN")]
    token: Option<String>,
}

struct Hub {
    repositories: BTreeMap<String, Repository>,
    gated: Vec<String>,
    token: Option<String>,
}

struct Repository {
    commit: String,
    files: BTreeMap<String, File>,
}

struct File {
    bytes: Bytes,
    sha256: String,
}

/// # Errors
/// A folder cannot be read, what is gated is not served, or the address is taken.
pub fn run(command: &Command) -> Result<()> {
    let Command::Serve(options) = command;
    let hub = Hub::load(options)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(options.listen).await;
        let listener = listener.with_context(|| format!("cannot listen on {}", options.listen))?;
        println!("http://{}", listener.local_addr()?);
        Ok(axum::serve(listener, router(hub)).await?)
    })
}

impl Hub {
    fn load(options: &Serve) -> Result<Hub> {
        let models = options.models.iter().map(|(id, folder)| Ok((id.clone(), Repository::load(folder)?)));
        let repositories: BTreeMap<_, _> = models.collect::<Result<_>>()?;
        // A misspelt one would leave its files to everybody.
        for id in &options.gated {
            ensure!(repositories.contains_key(id), "--gated {id} is none of the models");
        }
        Ok(Hub { repositories, gated: options.gated.clone(), token: options.token.clone() })
    }
}

impl Repository {
    /// The files of a folder itself; hidden ones are not of the model.
    fn load(folder: &Path) -> Result<Repository> {
        let mut files = BTreeMap::new();
        let entries = std::fs::read_dir(folder);
        for entry in entries.with_context(|| format!("cannot read {}", folder.display()))? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_file() && !name.starts_with('.') {
                let bytes =
                    std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
                let sha256 = hex(&Sha256::digest(&bytes));
                files.insert(name, File { bytes: bytes.into(), sha256 });
            }
        }
        let contents: String = files.iter().map(|(name, file)| format!("{name} {}\n", file.sha256)).collect();
        let commit = hex(&Sha256::digest(contents)[..20]);
        Ok(Repository { commit, files })
    }
}

fn router(hub: Hub) -> Router {
    let hub = Arc::new(hub);
    Router::new()
        .route("/api/models/{owner}/{name}/revision/{revision}", get(revision))
        .route("/{owner}/{name}/resolve/{revision}/{file}", get(file))
        .layer(middleware::from_fn_with_state(hub.clone(), check_token))
        .with_state(hub)
}

async fn check_token(State(hub): State<Arc<Hub>>, request: Request, next: Next) -> Response<Body> {
    let given = request.headers().get(AUTHORIZATION).map(|value| value.as_bytes());
    let wanted = hub.token.as_ref().map(|token| format!("Bearer {token}"));
    match (given, wanted) {
        (Some(given), Some(wanted)) if given != wanted.as_bytes() => answer(StatusCode::UNAUTHORIZED, &[]),
        _ => next.run(request).await,
    }
}

/// Any revision is the only one.
async fn revision(
    State(hub): State<Arc<Hub>>,
    Parts((owner, name, _revision)): Parts<(String, String, String)>,
    headers: HeaderMap,
) -> Response<Body> {
    let id = format!("{owner}/{name}");
    let Some(repository) = hub.repositories.get(&id) else { return not_found(&headers) };
    let files: Vec<_> = repository.files.keys().map(|name| json!({ "rfilename": name })).collect();
    Response::new(json!({ "id": id, "sha": repository.commit, "siblings": files }).to_string().into())
}

/// axum leaves the bytes out of the answer to HEAD.
async fn file(
    State(hub): State<Arc<Hub>>,
    Parts((owner, name, revision, file)): Parts<(String, String, String, String)>,
    headers: HeaderMap,
) -> Response<Body> {
    let id = format!("{owner}/{name}");
    let Some(repository) = hub.repositories.get(&id) else { return not_found(&headers) };
    if hub.gated.contains(&id) {
        return refusal(StatusCode::FORBIDDEN, "GatedRepo");
    }
    match repository.files.get(&file) {
        _ if revision != repository.commit => refusal(StatusCode::NOT_FOUND, "RevisionNotFound"),
        None => refusal(StatusCode::NOT_FOUND, "EntryNotFound"),
        Some(file) => file.answer(&headers, &repository.commit),
    }
}

impl File {
    /// All bytes, or those from the beginning that a range names.
    fn answer(&self, headers: &HeaderMap, commit: &str) -> Response<Body> {
        let range = headers.get(RANGE).and_then(|range| range.to_str().ok());
        let begin = range.and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
        if begin.is_some_and(|begin: usize| begin >= self.bytes.len()) {
            return answer(StatusCode::RANGE_NOT_SATISFIABLE, &[]);
        }
        let rest = self.bytes.slice(begin.unwrap_or(0)..);
        Response::builder()
            .status(if begin.is_some() { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK })
            .header(ETAG, format!("\"{}\"", self.sha256))
            .header("x-repo-commit", commit)
            .header(CONTENT_LENGTH, rest.len())
            .body(rest.into())
            .expect("its headers are digests and numbers")
    }
}

/// Strangers are not told what does not exist and what they may not see.
fn not_found(headers: &HeaderMap) -> Response<Body> {
    let is_known = headers.contains_key(AUTHORIZATION);
    refusal(if is_known { StatusCode::NOT_FOUND } else { StatusCode::UNAUTHORIZED }, "RepoNotFound")
}

fn refusal(status: StatusCode, code: &'static str) -> Response<Body> {
    answer(status, &[("x-error-code", code)])
}

fn answer(status: StatusCode, headers: &[(&'static str, &'static str)]) -> Response<Body> {
    let builder = headers
        .iter()
        .fold(Response::builder().status(status), |builder, (name, value)| builder.header(*name, *value));
    builder.body(Body::empty()).expect("its headers are constant")
}

fn parse_model(text: &str) -> Result<(String, PathBuf), String> {
    let parts =
        text.split_once('=').filter(|(id, _)| id.split('/').filter(|part| !part.is_empty()).count() == 2);
    let (id, folder) = parts.ok_or("must be OWNER/NAME=FOLDER")?;
    Ok((id.to_owned(), folder.into()))
}

#[cfg(test)]
mod tests;
