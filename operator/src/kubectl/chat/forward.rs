//! One HTTP exchange over a port-forward of its own.

use std::io::Write;
use std::time::Duration;

use anyhow::{Context, Result};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Pod;
use kube::api::Api;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};

use super::super::explained::explained;
use super::{Target, answer};

/// For the kubelet's reason, which comes beside the stream that it ends.
const REASON_LIMIT: Duration = Duration::from_secs(1);

/// Prints the answer, and returns it.
pub(super) async fn exchange(
    pods: &Api<Pod>,
    target: &Target,
    body: &Value,
    output: &mut impl Write,
) -> Result<String> {
    let Target { pod, port } = target;
    let unreachable = || format!("cannot forward to port {port} of pod {pod}");
    let mut forwarder = pods.portforward(pod, &[*port]).await.map_err(explained).with_context(unreachable)?;
    let stream = forwarder.take_stream(*port).with_context(unreachable)?;
    let reason = forwarder.take_error(*port);
    let outcome = match send(stream, body).await {
        Ok(response) => answer::read(response, output).await,
        Err(error) => Err(error.context(unreachable())),
    };
    match (outcome, reason) {
        (Err(error), Some(reason)) => {
            let reason = tokio::time::timeout(REASON_LIMIT, reason).await.ok().flatten();
            Err(match reason {
                Some(reason) => error.context(reason.trim().to_owned()),
                None => error,
            })
        }
        (outcome, _) => outcome,
    }
}

async fn send<S>(stream: S, body: &Value) -> Result<Response<hyper::body::Incoming>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Ends with the body, which tells of its errors.
    tokio::spawn(connection);
    let request = Request::post("/v1/chat/completions")
        .header(HOST, "localhost")
        .header(CONTENT_TYPE, "application/json")
        .body(body.to_string())?;
    Ok(sender.send_request(request).await?)
}
