//! Pages of lists that fit into memory. A page is read as a whole, twice for a moment, and many kinds are listed at once:
//! whoever may label objects could fill each page with some MiB an object. A page that is too long is asked for again
//! with one object, one such in the process at a time, and so are the next pages of such lists for a while. The rest comes
//! with the next page, as of any list.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Bytes, HttpBody};
use axum::http::{Method, Request, Response, Uri};
use futures::FutureExt;
use futures::future::BoxFuture;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use kube::client::Body;
use prometheus_client::metrics::counter::Counter;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tower::{BoxError, Layer, Service, ServiceExt};

use crate::memory::Memory;

/// Several times a page of the operator's own objects.
const PAGE_BYTES_MAX: usize = 2 << 20;
/// For which a list is read one object at a time: a token to go on with is good for minutes, in which a list must end.
const LONG_FOR: Duration = Duration::from_secs(60);

#[derive(Clone)]
pub(crate) struct ShortPages {
    shared: Arc<Shared>,
}

struct Shared {
    /// To read a long object.
    turn: Arc<Semaphore>,
    /// Until when lists are long, by path.
    long: Memory<String, Instant>,
    /// Counts them.
    shortened: Counter,
}

impl ShortPages {
    pub(crate) fn new(shortened: Counter) -> Self {
        let turn = Arc::new(Semaphore::new(1));
        ShortPages { shared: Arc::new(Shared { turn, long: Memory::default(), shortened }) }
    }
}

impl Shared {
    fn is_long(&self, path: &str) -> bool {
        self.long.lock().all.get(path).is_some_and(|until| Instant::now() < *until)
    }

    fn note_long(&self, path: &str) {
        tracing::warn!(path, "a page is longer than 2 MiB: for a minute one object is read at a time");
        self.shortened.inc();
        let (mut long, now) = (self.long.lock(), Instant::now());
        long.sweep(LONG_FOR, |until| now < *until);
        long.all.insert(path.to_owned(), now + LONG_FOR);
    }
}

impl<S> Layer<S> for ShortPages {
    type Service = Shortened<S>;

    fn layer(&self, inner: S) -> Shortened<S> {
        Shortened { inner, shared: self.shared.clone() }
    }
}

#[derive(Clone)]
pub(crate) struct Shortened<S> {
    inner: S,
    shared: Arc<Shared>,
}

type AnswerBody = UnsyncBoxBody<Bytes, BoxError>;

impl<S, B> Service<Request<Body>> for Shortened<S>
where
    S: Service<Request<Body>, Response = Response<B>, Error = BoxError> + Clone + Send + 'static,
    S::Future: Send + 'static,
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<AnswerBody>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<AnswerBody>, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let by_one = by_one(&request);
        let (inner, shared) = (self.inner.clone(), self.shared.clone());
        let mut ready = std::mem::replace(&mut self.inner, inner.clone());
        let answer = async move {
            let Some(by_one) = by_one else { return Ok(ready.call(request).await?.map(boxed)) };
            let path = request.uri().path().to_owned();
            if !shared.is_long(&path) {
                let (head, body) = ready.call(request).await?.into_parts();
                if let Some(page) = read(body).await? {
                    return Ok(Response::from_parts(head, boxed(Full::new(page))));
                }
                shared.note_long(&path);
            }
            let turn = shared.turn.clone().acquire_owned().await?;
            let (head, body) = inner.oneshot(by_one).await?.into_parts();
            // Until it is read.
            let body = body.map_frame(move |frame| {
                let _ = &turn;
                frame
            });
            Ok(Response::from_parts(head, boxed(body)))
        };
        answer.boxed()
    }
}

/// The same of one object; `None` of what is no page of several.
fn by_one(request: &Request<Body>) -> Option<Request<Body>> {
    if request.method() != Method::GET {
        return None;
    }
    let uri = request.uri();
    let is_limit = |pair: &&str| pair.starts_with("limit=");
    let pairs: Vec<&str> = uri.query()?.split('&').collect();
    pairs.iter().find(|pair| is_limit(pair) && **pair != "limit=1")?;
    let pairs: Vec<&str> =
        pairs.into_iter().map(|pair| if is_limit(&pair) { "limit=1" } else { pair }).collect();
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = format!("{}?{}", uri.path(), pairs.join("&")).parse().ok();
    let mut by_one = Request::new(Body::empty());
    *by_one.uri_mut() = Uri::from_parts(parts).ok()?;
    *by_one.headers_mut() = request.headers().clone();
    Some(by_one)
}

/// `None` where it is too long.
async fn read<B>(body: B) -> Result<Option<Bytes>, BoxError>
where
    B: HttpBody<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    match Limited::new(body, PAGE_BYTES_MAX).collect().await {
        Ok(page) => Ok(Some(page.to_bytes())),
        Err(error) if error.is::<LengthLimitError>() => Ok(None),
        Err(error) => Err(error),
    }
}

fn boxed<B>(body: B) -> AnswerBody
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    body.map_err(Into::into).boxed_unsync()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pages_of_several_are_asked_for_again() {
        let check = |method: &str, path: &str, expected: Option<&str>| {
            let request = Request::builder().method(method).uri(path).header("accept", "a");
            let by_one = by_one(&request.body(Body::empty()).unwrap());
            let uri = by_one.as_ref().map(|request| request.uri().to_string());
            assert_eq!(uri.as_deref(), expected, "{method} {path}");
            assert!(by_one.is_none_or(|request| request.headers()["accept"] == "a"));
        };
        check("GET", "/api/v1/pods?limit=25", Some("/api/v1/pods?limit=1"));
        let next = "/api/v1/pods?labelSelector=a%3Db&limit=1&continue=limit%3D25";
        check("GET", &next.replace("limit=1", "limit=10"), Some(next));
        check("GET", next, None);
        check("GET", "/api/v1/pods?watch=true", None);
        check("GET", "/api/v1/pods", None);
        check("DELETE", "/api/v1/pods?limit=25", None);
    }
}
