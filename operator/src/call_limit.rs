//! The time that a call of the API server may take, each try by itself, until its answer is read. Of a watch only the
//! beginning has one: what follows goes on, and kube ends a watch of which nothing comes.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Bytes, HttpBody};
use axum::http::{Request, Response};
use futures::FutureExt;
use futures::future::BoxFuture;
use hyper::body::{Frame, SizeHint};
use kube::client::Body;
use tokio::time::{Instant, Sleep, sleep_until, timeout_at};
use tower::{BoxError, Layer, Service};

use crate::api_calls::ApiCall;

/// Longer than API servers take, which give a call up after 60 s unless they are told otherwise.
pub(crate) const LIMIT: Duration = Duration::from_secs(75);

#[derive(Debug, thiserror::Error)]
#[error("the API server has not answered within {} s", LIMIT.as_secs())]
struct Late;

#[derive(Clone, Copy)]
pub(crate) struct LimitCalls;

impl<S> Layer<S> for LimitCalls {
    type Service = Limited<S>;

    fn layer(&self, inner: S) -> Limited<S> {
        Limited { inner }
    }
}

#[derive(Clone)]
pub(crate) struct Limited<S> {
    inner: S,
}

impl<S, B> Service<Request<Body>> for Limited<S>
where
    S: Service<Request<Body>, Response = Response<B>, Error = BoxError>,
    S::Future: Send + 'static,
{
    type Response = Response<LimitedBody<B>>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let end = Instant::now() + LIMIT;
        let call = ApiCall::of(request.method(), request.uri());
        let is_watch = call.is_some_and(|call| call.verb == "watch");
        let answer = timeout_at(end, self.inner.call(request));
        let limited = async move {
            let answer = answer.await.map_err(|_| Late)??;
            Ok(answer.map(|body| LimitedBody { body, end: (!is_watch).then(|| Box::pin(sleep_until(end))) }))
        };
        limited.boxed()
    }
}

/// Fails where more of it is to come than came in time.
pub(crate) struct LimitedBody<B> {
    body: B,
    end: Option<Pin<Box<Sleep>>>,
}

impl<B> HttpBody for LimitedBody<B>
where
    B: HttpBody<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        match &mut self.end {
            Some(end) => end.as_mut().poll(context).map(|()| Some(Err(Late.into()))),
            None => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
