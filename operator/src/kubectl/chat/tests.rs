//! Against an API server on a port of its own, which forwards as a kubelet does: to a daemon that says what it is told.

use std::convert::Infallible;
use std::sync::Arc;

use futures::{SinkExt, StreamExt};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use kube::{Client, Config};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::net::TcpListener;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::super::fake_api::{Asked, FakeApi, pod_metadata};
use super::*;

const PORT: u16 = 1234;

/// What happens to a forwarded connection.
#[derive(Clone)]
enum Daemon {
    /// Every request, with this status and body.
    Answers(u16, &'static str),
    /// Ends its connection after this, in the midst of the answer.
    Breaks(&'static str),
    /// The kubelet cannot reach it.
    Refuses(&'static str),
}

fn pod(name: &str, ready: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": pod_metadata(name),
        "spec": { "containers": [{ "name": "ostro", "ports": [{ "name": "http", "containerPort": PORT }] }] },
        "status": { "conditions": [{ "type": "Ready", "status": ready }] },
    })
}

fn object() -> InferenceDeployment {
    let object = json!({
        "apiVersion": "inference.ostro.dev/v1alpha1", "kind": "InferenceDeployment",
        "metadata": { "name": "m", "namespace": "shop" }, "spec": { "models": [{ "modelId": "a/b" }] },
        "status": { "conditions": [{ "type": "Ready", "status": "False", "reason": "Unschedulable",
            "message": "too few CPUs", "lastTransitionTime": "2026-01-01T00:00:00Z" }] },
    });
    serde_json::from_value(object).unwrap()
}

/// A cluster whose pods are these; what the daemon was asked comes back by `FakeApi::asked`.
async fn start(pods: &[Value], daemon: Daemon) -> (Cluster, FakeApi) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let objects: Vec<(String, Value)> = pods
        .iter()
        .map(|pod| {
            (
                format!("/api/v1/namespaces/shop/pods/{}", pod["metadata"]["name"].as_str().unwrap()),
                pod.clone(),
            )
        })
        .collect();
    let objects: Vec<(&str, Value)> =
        objects.iter().map(|(path, pod)| (path.as_str(), pod.clone())).collect();
    let api = FakeApi::with(&objects);
    let shared = api.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (api, daemon) = (shared.clone(), daemon.clone());
            let service = service_fn(move |request| serve(request, api.clone(), daemon.clone()));
            let http = hyper::server::conn::http1::Builder::new();
            tokio::spawn(http.serve_connection(TokioIo::new(stream), service).with_upgrades());
        }
    });
    let config = Config::new(format!("http://{address}").parse().unwrap());
    (Cluster { client: Client::try_from(config).unwrap(), namespace: "shop".to_owned() }, api)
}

async fn serve(
    mut request: Request<Incoming>,
    api: FakeApi,
    daemon: Daemon,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let line = format!("{} {}", request.method(), request.uri());
    if !line.contains("/portforward?") {
        let (code, value) = api.handle(Asked { line, body: Value::Null });
        return Ok(Response::builder().status(code).body(value.to_string().into()).unwrap());
    }
    let accept = derive_accept_key(request.headers()[SEC_WEBSOCKET_KEY].as_bytes());
    let upgraded = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let io = TokioIo::new(upgraded.await.unwrap());
        forward(WebSocketStream::from_raw_socket(io, Role::Server, None).await, api, daemon).await;
    });
    let response = Response::builder().status(StatusCode::SWITCHING_PROTOCOLS);
    let response = response.header(CONNECTION, "upgrade").header(UPGRADE, "websocket");
    let response =
        response.header(SEC_WEBSOCKET_ACCEPT, accept).header(SEC_WEBSOCKET_PROTOCOL, "v4.channel.k8s.io");
    Ok(response.body(Full::default()).unwrap())
}

/// Two channels a port: its bytes, and an error that ends them. Each begins with the port.
async fn forward<S>(mut socket: WebSocketStream<S>, api: FakeApi, daemon: Daemon)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    for channel in [0, 1] {
        let bytes: Vec<u8> = [channel].into_iter().chain(PORT.to_le_bytes()).collect();
        socket.send(Message::binary(bytes)).await.unwrap();
    }
    if let Daemon::Refuses(reason) = daemon {
        socket.send(Message::binary([&[1], reason.as_bytes()].concat())).await.unwrap();
        let _ = socket.close(None).await;
        return;
    }
    let (mut near, far) = tokio::io::duplex(1 << 16);
    tokio::spawn(answer(far, api, daemon));
    let mut bytes = vec![0; 1 << 12];
    loop {
        tokio::select! {
            message = socket.next() => match message {
                Some(Ok(Message::Binary(message))) if message.len() > 1 => near.write_all(&message[1..]).await.unwrap(),
                Some(Ok(_)) => {}
                _ => return,
            },
            count = near.read(&mut bytes) => match count.unwrap() {
                0 => return drop(socket.close(None).await),
                count => socket.send(Message::binary([&[0], &bytes[..count]].concat())).await.unwrap(),
            },
        }
    }
}

async fn answer(mut stream: DuplexStream, api: FakeApi, daemon: Daemon) {
    if let Daemon::Breaks(text) = daemon {
        let mut request = vec![0; 1 << 12];
        let _ = stream.read(&mut request).await.unwrap();
        let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        stream.write_all(format!("{head}{:x}\r\n{text}\r\n", text.len()).as_bytes()).await.unwrap();
        return;
    }
    let Daemon::Answers(status, text) = daemon else { return };
    let api = Arc::new(api);
    let service = service_fn(move |request: Request<Incoming>| {
        let api = api.clone();
        async move {
            let line = format!("daemon {} {}", request.method(), request.uri());
            let body = request.into_body().collect().await.unwrap().to_bytes();
            api.handle(Asked { line, body: serde_json::from_slice(&body).unwrap() });
            Ok::<_, Infallible>(Response::builder().status(status).body(Full::<Bytes>::from(text)).unwrap())
        }
    });
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

/// What was printed, and how each question ended.
async fn ask(cluster: &Cluster, questions: &[&str]) -> (String, Result<()>) {
    let target = ready_pod(cluster, &object()).await.unwrap();
    let mut chat = Chat { pod: target, model: None, messages: Vec::new() };
    let mut output = Vec::new();
    for question in questions {
        if let Err(error) = chat.ask(&cluster.api(), question, &mut output).await {
            return (String::from_utf8(output).unwrap(), Err(error));
        }
    }
    (String::from_utf8(output).unwrap(), Ok(()))
}

const ANSWER: &str = "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\"}}]}\n\n: keep-alive\n\n\
    data: {\"choices\":[{\"delta\":{\"content\":\"Hel\"}}]}\n\ndata: {\"choices\":[{\"delta\":{\"content\":\"lo\"}}]}\n\n\
    data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";

#[tokio::test]
async fn answers_are_printed_and_remembered() {
    let (cluster, api) =
        start(&[pod("cold", "False"), pod("warm", "True")], Daemon::Answers(200, ANSWER)).await;
    let (printed, ended) = ask(&cluster, &["Hi", "Again"]).await;
    ended.unwrap();
    assert_eq!(printed, "Hello\nHello\n");
    let asked: Vec<Asked> =
        api.asked().into_iter().filter(|asked| asked.line.starts_with("daemon")).collect();
    assert_eq!(asked[0].line, "daemon POST /v1/chat/completions");
    assert_eq!(
        asked[0].body,
        json!({ "model": "default", "messages": [{ "role": "user", "content": "Hi" }], "stream": true })
    );
    let messages: Vec<&Value> =
        asked[1].body["messages"].as_array().unwrap().iter().map(|one| &one["content"]).collect();
    assert_eq!(messages, ["Hi", "Hello", "Again"]);
}

#[tokio::test]
async fn an_answer_cannot_steer_the_terminal() {
    let daemon = Daemon::Answers(
        200,
        "data: {\"choices\":[{\"delta\":{\"content\":\"a\\n\\u001b\"}}]}\n\n\
         data: {\"choices\":[{\"delta\":{\"content\":\"[2J\"}}]}\n\ndata: [DONE]\n\n",
    );
    let (cluster, api) = start(&[pod("warm", "True")], daemon).await;
    let (printed, ended) = ask(&cluster, &["Hi", "Again"]).await;
    ended.unwrap();
    assert_eq!(printed, "a\n\\u{1b}[2J\n".repeat(2));
    let last = api.asked().pop().unwrap();
    assert_eq!(last.body["messages"][1]["content"], "a\n\u{1b}[2J", "the model reads what it wrote");
}

/// Though it has the labels, is ready, and comes first.
#[tokio::test]
async fn a_strangers_pod_gets_no_prompts() {
    let others = json!([{ "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "other-5d4", "uid": "o", "controller": true }]);
    for owners in [json!([]), others] {
        let mut stranger = pod("a-stranger", "True");
        stranger["metadata"]["ownerReferences"] = owners;
        let (cluster, _) =
            start(&[stranger.clone(), pod("warm", "True")], Daemon::Answers(200, ANSWER)).await;
        assert_eq!(ready_pod(&cluster, &object()).await.unwrap().pod, "warm");
        let (cluster, _) = start(&[stranger], Daemon::Answers(200, ANSWER)).await;
        assert!(ready_pod(&cluster, &object()).await.is_err());
    }
}

#[tokio::test]
async fn without_a_ready_pod_the_status_says_why() {
    let (cluster, _) = start(&[pod("cold", "False")], Daemon::Answers(200, ANSWER)).await;
    let error = ready_pod(&cluster, &object()).await.unwrap_err();
    let expected = "no pod of InferenceDeployment m in namespace shop is ready: Unschedulable: too few CPUs";
    assert_eq!(error.to_string(), expected);
}

#[tokio::test]
async fn what_goes_wrong_is_told() {
    let cases = [
        (
            Daemon::Answers(404, "{\"error\":{\"message\":\"no model x\",\"type\":\"t\"}}"),
            "",
            "the daemon answers 404 Not Found: no model x",
        ),
        (
            Daemon::Answers(
                200,
                "data: {\"choices\":[{\"delta\":{\"content\":\"Hel\"}}]}\n\ndata: {\"error\":{\"message\":\"no memory\"}}\n\n",
            ),
            "Hel",
            "the answer broke off: no memory",
        ),
        (
            Daemon::Answers(200, "data: {\"choices\":[{\"delta\":{\"content\":\"Hel\"}}]}\n\n"),
            "Hel",
            "the answer broke off",
        ),
        (
            Daemon::Breaks("data: {\"choices\":[{\"delta\":{\"content\":\"Hel\"}}]}\n\n"),
            "Hel",
            "the answer broke off",
        ),
        (Daemon::Answers(200, "data: hello\n\n"), "", "the answer is no chat: hello"),
        (
            Daemon::Refuses("connection refused"),
            "",
            "connection refused: cannot forward to port 1234 of pod warm",
        ),
    ];
    for (daemon, printed, expected) in cases {
        let (cluster, _) = start(&[pod("warm", "True")], daemon).await;
        let (output, ended) = ask(&cluster, &["Hi"]).await;
        let error = format!("{:#}", ended.unwrap_err());
        assert!(output == printed && error.starts_with(expected), "{output:?} {error}");
    }
}
