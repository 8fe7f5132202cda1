//! The operator's calls of the API server, as the rights of RBAC name them: read from each request, counted, and told of
//! where they fail on the API server's side, since most of those are tried again and succeed without a word.

use std::task::{Context, Poll};

use axum::http::{Method, Request, Response, StatusCode, Uri};
use futures::FutureExt;
use futures::future::BoxFuture;
use kube::client::Body;
use tower::{Layer, Service};
use tracing::field::Empty;
use tracing::{Instrument, Span};

use crate::metrics::Metrics;
use crate::traces::TARGET;

/// What one request does. Subresources are part of the resource, as in `deployments/scale`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ApiCall {
    pub(crate) verb: &'static str,
    pub(crate) group: String,
    pub(crate) resource: String,
    pub(crate) namespace: Option<String>,
    pub(crate) name: Option<String>,
}

impl ApiCall {
    /// `None` for what is no resource, such as `/version` and discovery.
    pub(crate) fn of(method: &Method, uri: &Uri) -> Option<ApiCall> {
        let mut parts: Vec<&str> = uri.path().trim_matches('/').split('/').collect();
        let group = match *parts.first()? {
            "api" => "",
            "apis" => parts.get(1)?,
            _ => return None,
        };
        parts.drain(..parts.len().min(if group.is_empty() { 2 } else { 3 }));
        let namespace = match parts[..] {
            ["namespaces", namespace, _, ..] => Some(namespace.to_owned()),
            _ => None,
        };
        if namespace.is_some() {
            parts.drain(..2);
        }
        let resource = match parts[..] {
            [resource, _, subresource, ..] => format!("{resource}/{subresource}"),
            [resource, ..] => resource.to_owned(),
            [] => return None,
        };
        let name = parts.get(1).map(|name| (*name).to_owned());
        let verb = verb(method, uri.query().unwrap_or_default(), name.is_some());
        Some(ApiCall { verb, group: group.to_owned(), resource, namespace, name })
    }
}

fn verb(method: &Method, query: &str, has_name: bool) -> &'static str {
    let is_watch = query.split('&').any(|pair| matches!(pair, "watch=true" | "watch=1"));
    match (method.as_str(), has_name) {
        ("GET", _) if is_watch => "watch",
        ("GET", true) => "get",
        ("GET", false) => "list",
        ("POST", _) => "create",
        ("PUT", _) => "update",
        ("PATCH", _) => "patch",
        ("DELETE", true) => "delete",
        ("DELETE", false) => "deletecollection",
        _ => "other",
    }
}

/// Of one call within a reconcile, by the names of OpenTelemetry. Leases and watches would be traces without end.
fn span(method: &Method, uri: &Uri) -> Span {
    if Span::current().is_none() {
        return Span::none();
    }
    let span = tracing::info_span!(
        target: TARGET,
        "api call",
        otel.name = Empty,
        otel.kind = "client",
        http.request.method = %method,
        url.path = uri.path(),
        http.response.status_code = Empty,
    );
    if !span.is_disabled()
        && let Some(ApiCall { verb, resource, .. }) = ApiCall::of(method, uri)
    {
        span.record("otel.name", format!("{verb} {resource}"));
    }
    span
}

/// Counts every call by its answer, and warns of those that the API server could not serve; a watch when it begins.
#[derive(Clone)]
pub(crate) struct CountCalls {
    metrics: Metrics,
}

impl CountCalls {
    pub(crate) fn new(metrics: Metrics) -> Self {
        CountCalls { metrics }
    }
}

impl<S> Layer<S> for CountCalls {
    type Service = Counted<S>;

    fn layer(&self, inner: S) -> Counted<S> {
        Counted { inner, metrics: self.metrics.clone() }
    }
}

#[derive(Clone)]
pub(crate) struct Counted<S> {
    inner: S,
    metrics: Metrics,
}

impl<S, B> Service<Request<Body>> for Counted<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (method, uri) = (request.method().clone(), request.uri().clone());
        let metrics = self.metrics.clone();
        let span = span(&method, &uri);
        let answer = span.in_scope(|| self.inner.call(request));
        answer
            .instrument(span.clone())
            .inspect(move |answer| {
                let status = answer.as_ref().ok().map(Response::status);
                span.record("http.response.status_code", status.map(|status| status.as_u16()));
                metrics.api_called(ApiCall::of(&method, &uri).as_ref(), status.map(|status| status.as_u16()));
                if let Some(status) = status.filter(|status| is_failure(*status)) {
                    let (path, status) = (uri.path(), status.as_u16());
                    tracing::warn!(%method, path, status, "the API server failed to answer a call");
                }
            })
            .boxed()
    }
}

/// Whose caller may never see it. Other refusals, and calls without an answer, are for the caller to tell of.
fn is_failure(status: StatusCode) -> bool {
    status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(method: &str, path: &str, expected: Option<[&str; 5]>) {
        let call = ApiCall::of(&method.parse().unwrap(), &path.parse().unwrap());
        let fields = call.as_ref().map(|call| {
            let text = |text: &'_ Option<String>| text.clone().unwrap_or_default();
            let (namespace, name) = (text(&call.namespace), text(&call.name));
            [call.verb.to_owned(), call.group.clone(), call.resource.clone(), namespace, name]
        });
        assert_eq!(fields, expected.map(|fields| fields.map(str::to_owned)), "{method} {path}");
    }

    #[test]
    fn requests_are_named_as_rights_are() {
        check("GET", "/api/v1/pods?watch=true&limit=5", Some(["watch", "", "pods", "", ""]));
        check("GET", "/api/v1/namespaces/n/pods?labelSelector=watch", Some(["list", "", "pods", "n", ""]));
        check("GET", "/api/v1/namespaces/n", Some(["get", "", "namespaces", "", "n"]));
        check(
            "PATCH",
            "/apis/a.b/v1/namespaces/n/things/t/status?force=true",
            Some(["patch", "a.b", "things/status", "n", "t"]),
        );
        check(
            "POST",
            "/apis/apps/v1/namespaces/n/deployments",
            Some(["create", "apps", "deployments", "n", ""]),
        );
        check("PUT", "/apis/c/v1/namespaces/n/leases/l", Some(["update", "c", "leases", "n", "l"]));
        check("DELETE", "/api/v1/namespaces/n/services/s", Some(["delete", "", "services", "n", "s"]));
        for path in ["/version", "/api", "/api/v1", "/apis", "/apis/apps/v1", "/"] {
            check("GET", path, None);
        }
    }
}
