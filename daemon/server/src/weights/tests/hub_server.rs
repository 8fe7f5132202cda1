//! A hub of one model on a local port, that can misbehave.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Method, Response, StatusCode, header};
use bytes::Bytes;
use serde_json::json;
use tokio::sync::oneshot;

use super::sha256;

pub(super) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Anyone whose token is not `right`.
    Token,
    Gated,
    /// As the hub hides private repositories from strangers.
    Hidden,
    Missing,
    Revision,
    Broken,
    Nonsense,
}

#[derive(Default)]
struct Hub {
    id: String,
    files: BTreeMap<String, Bytes>,
    commit: String,
    refusal: Option<Refusal>,
    gated_files: bool,
    cuts: VecDeque<usize>,
    without_ranges: bool,
    lost: usize,
    elsewhere: bool,
    without_scheme: bool,
    renamed: Option<String>,
    begins: Vec<u64>,
    requests: usize,
    tokens: usize,
    tokens_at_storage: usize,
    url: String,
    storage_url: String,
}

type Shared = Arc<Mutex<Hub>>;

/// Serves until dropped.
pub(super) struct HubServer {
    pub(super) url: String,
    hub: Shared,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl HubServer {
    pub(super) fn start(id: &str, files: &[(&str, &[u8])]) -> HubServer {
        let hub = Hub { id: id.to_owned(), ..Hub::default() };
        let hub = Arc::new(Mutex::new(hub));
        hub.lock().unwrap().commit(COMMIT, files);
        let listeners = [(), ()].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
        let [url, storage_url] = [0, 1].map(|n| format!("http://{}", listeners[n].local_addr().unwrap()));
        hub.lock().unwrap().url = url.clone();
        // Another host, as far as tokens are concerned.
        hub.lock().unwrap().storage_url = storage_url.replace("127.0.0.1", "localhost");
        let (stop, stopped) = oneshot::channel();
        let shared = hub.clone();
        let thread = std::thread::spawn(move || run(listeners, shared, stopped));
        HubServer { url, hub, stop: Some(stop), thread: Some(thread) }
    }

    fn hub(&self) -> MutexGuard<'_, Hub> {
        self.hub.lock().unwrap()
    }

    /// Its main branch has a new commit, of these files.
    pub(super) fn commit(&self, commit: &str, files: &[(&str, &[u8])]) {
        self.hub().commit(commit, files);
    }

    /// The next transfers break off after so many bytes each.
    pub(super) fn cut_after(&self, bytes: &[usize]) {
        self.hub().cuts = bytes.iter().copied().collect();
    }

    pub(super) fn ignore_ranges(&self) {
        self.hub().without_ranges = true;
    }

    /// So many bytes at the end of each file, which descriptions go on to count.
    pub(super) fn lose(&self, bytes: usize) {
        self.hub().lost = bytes;
    }

    pub(super) fn store_elsewhere(&self) {
        self.hub().elsewhere = true;
    }

    /// `//host/…` in redirects to the storage.
    pub(super) fn omit_the_scheme(&self) {
        self.hub().without_scheme = true;
    }

    pub(super) fn rename_to(&self, id: &str) {
        self.hub().renamed = Some(id.to_owned());
    }

    pub(super) fn refuse(&self, refusal: Refusal) {
        self.hub().refusal = Some(refusal);
    }

    pub(super) fn gate_files(&self) {
        self.hub().gated_files = true;
    }

    /// Where each transfer of a `.gguf` file began.
    pub(super) fn begins(&self) -> Vec<u64> {
        self.hub().begins.clone()
    }

    pub(super) fn transfers(&self) -> usize {
        self.hub().begins.len()
    }

    pub(super) fn requests(&self) -> usize {
        self.hub().requests
    }

    pub(super) fn tokens(&self) -> usize {
        self.hub().tokens
    }

    pub(super) fn tokens_at_storage(&self) -> usize {
        self.hub().tokens_at_storage
    }
}

impl Drop for HubServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        self.thread.take().unwrap().join().unwrap();
    }
}

fn run(listeners: [std::net::TcpListener; 2], hub: Shared, stopped: oneshot::Receiver<()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        for listener in listeners {
            listener.set_nonblocking(true).unwrap();
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let app = Router::new().fallback(answer).with_state(hub.clone());
            tokio::spawn(async { axum::serve(listener, app).await.unwrap() });
        }
        stopped.await.unwrap_err();
    });
}

async fn answer(State(hub): State<Shared>, request: Request) -> Response<Body> {
    let mut hub = hub.lock().unwrap();
    hub.requests += 1;
    let token = request.headers().get(header::AUTHORIZATION).cloned();
    hub.tokens += usize::from(token.is_some());
    let path = request.uri().path().to_owned();
    if let Some(name) = path.strip_prefix("/storage/") {
        hub.tokens_at_storage += usize::from(token.is_some());
        return hub.file(name, &request);
    }
    if let Some(refused) = hub.refused(token.is_some_and(|token| token == "Bearer right")) {
        return refused;
    }
    if let Some(renamed) = &hub.renamed
        && let Some(rest) = path.strip_prefix(&format!("/{}/", hub.id))
    {
        return redirect(StatusCode::TEMPORARY_REDIRECT, format!("/{renamed}/{rest}"));
    }
    let id = hub.renamed.clone().unwrap_or_else(|| hub.id.clone());
    if path.starts_with(&format!("/api/models/{}/revision/", hub.id)) {
        let names: Vec<_> = hub.files.keys().map(|name| json!({ "rfilename": name })).collect();
        let info = json!({ "id": hub.id, "sha": hub.commit, "siblings": names });
        return Response::new(info.to_string().into());
    }
    match path.strip_prefix(&format!("/{id}/resolve/{}/", hub.commit)) {
        Some(_) if hub.gated_files => error(StatusCode::FORBIDDEN, "GatedRepo"),
        Some(name) if hub.elsewhere => hub.at_storage(name),
        Some(name) => hub.file(name, &request),
        None => error(StatusCode::NOT_FOUND, "RepoNotFound"),
    }
}

impl Hub {
    fn commit(&mut self, commit: &str, files: &[(&str, &[u8])]) {
        let files = files.iter().map(|(name, bytes)| ((*name).to_owned(), Bytes::copy_from_slice(bytes)));
        self.files = files.collect();
        commit.clone_into(&mut self.commit);
    }

    fn refused(&self, has_right_token: bool) -> Option<Response<Body>> {
        Some(match self.refusal? {
            Refusal::Token if has_right_token => return None,
            Refusal::Token => Response::builder().status(401).body(Body::empty()).unwrap(),
            Refusal::Gated => error(StatusCode::FORBIDDEN, "GatedRepo"),
            Refusal::Hidden => error(StatusCode::UNAUTHORIZED, "RepoNotFound"),
            Refusal::Missing => error(StatusCode::NOT_FOUND, "RepoNotFound"),
            Refusal::Revision => error(StatusCode::NOT_FOUND, "RevisionNotFound"),
            Refusal::Broken => error(StatusCode::INTERNAL_SERVER_ERROR, "ServerError"),
            Refusal::Nonsense => Response::new("<html>".into()),
        })
    }

    fn at_storage(&self, name: &str) -> Response<Body> {
        let Some(bytes) = self.files.get(name) else { return error(StatusCode::NOT_FOUND, "EntryNotFound") };
        let scheme = if self.without_scheme { "" } else { "http:" };
        let location = format!("{scheme}{}/storage/{name}", self.storage_url.trim_start_matches("http:"));
        let mut response = redirect(StatusCode::FOUND, location);
        let headers = response.headers_mut();
        headers.insert("x-linked-size", bytes.len().into());
        headers.insert("x-linked-etag", format!("\"{}\"", sha256(bytes)).try_into().unwrap());
        headers.insert("x-repo-commit", self.commit.as_str().try_into().unwrap());
        response
    }

    fn file(&mut self, name: &str, request: &Request) -> Response<Body> {
        let Some(bytes) = self.files.get(name).cloned() else {
            return error(StatusCode::NOT_FOUND, "EntryNotFound");
        };
        let range = request.headers().get(header::RANGE).and_then(|range| range.to_str().ok());
        let begin: Option<u64> =
            range.map(|range| range.trim_start_matches("bytes=").trim_end_matches('-').parse().unwrap());
        let begin = begin.filter(|_| !self.without_ranges);
        let is_described = request.method() == Method::HEAD;
        let end = if is_described { bytes.len() } else { bytes.len() - self.lost };
        if begin.is_some_and(|begin| begin >= end as u64) {
            self.begins.extend(begin);
            return Response::builder().status(416).body(Body::empty()).unwrap();
        }
        let rest = bytes.slice(begin.unwrap_or(0) as usize..end);
        let response = Response::builder()
            .status(if begin.is_some() { 206 } else { 200 })
            .header(header::ETAG, format!("\"{}\"", sha256(&bytes)))
            .header("x-repo-commit", self.commit.as_str())
            .header(header::CONTENT_LENGTH, rest.len());
        if is_described {
            return response.body(Body::empty()).unwrap();
        }
        if name.ends_with(".gguf") {
            self.begins.push(begin.unwrap_or(0));
        }
        let body = match self.cuts.pop_front() {
            Some(cut) => cut_off(rest.slice(..cut)),
            None => Body::from(rest),
        };
        response.body(body).unwrap()
    }
}

/// The bytes, sent, and then the end of the connection.
fn cut_off(bytes: Bytes) -> Body {
    let sent = futures::stream::once(async { Ok(bytes) });
    let broken = futures::stream::once(async {
        tokio::task::yield_now().await;
        Err(std::io::Error::other("cut"))
    });
    Body::from_stream(futures::StreamExt::chain(sent, broken))
}

fn redirect(status: StatusCode, location: String) -> Response<Body> {
    Response::builder().status(status).header(header::LOCATION, location).body(Body::empty()).unwrap()
}

fn error(status: StatusCode, code: &str) -> Response<Body> {
    Response::builder().status(status).header("x-error-code", code).body(Body::empty()).unwrap()
}
