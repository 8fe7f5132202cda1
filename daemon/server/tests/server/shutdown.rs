//! A listening server: real sockets, limits of a request's head, idle connections, and the end.

use std::time::Duration;

use ostro_server::{Server, ServerOptions};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::fixture::{Fixture, chat};

struct Running {
    address: std::net::SocketAddr,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<()>,
}

async fn start(server: &Fixture, grace: Duration) -> Running {
    start_with(server, ServerOptions { grace, ..ServerOptions::default() }).await
}

async fn start_with(server: &Fixture, options: ServerOptions) -> Running {
    let options = ServerOptions { host: "127.0.0.1".into(), port: 0, ..options };
    let listening = Server::bind(options, server.models.clone()).await.unwrap();
    let address = listening.address();
    let (stop, stopped) = oneshot::channel();
    let ended = tokio::spawn(listening.run(async {
        let _ = stopped.await;
    }));
    Running { address, stop, ended }
}

async fn send(address: std::net::SocketAddr, bytes: &[u8]) -> TcpStream {
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.write_all(bytes).await.unwrap();
    socket
}

fn request(max_tokens: u64) -> Vec<u8> {
    let fields = json!({"stream": true, "max_tokens": max_tokens, "ignore_eos": true});
    let body = chat(fields).to_string();
    let length = body.len();
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json";
    format!("{head}\r\ncontent-length: {length}\r\n\r\n{body}").into_bytes()
}

async fn read_all(mut socket: TcpStream) -> String {
    let mut text = Vec::new();
    // A reset after the answer is an end too.
    let _ = socket.read_to_end(&mut text).await;
    String::from_utf8_lossy(&text).into_owned()
}

#[tokio::test]
async fn running_answers_finish_and_new_connections_are_refused() {
    let server = Fixture::with(Default::default(), 8).await;
    let running = start(&server, Duration::from_secs(60)).await;
    server.gate.allow(3);
    let mut socket = send(running.address, &request(40)).await;
    let mut first = [0; 64];
    socket.read_exact(&mut first).await.unwrap();
    assert!(first.starts_with(b"HTTP/1.1 200"));
    running.stop.send(()).unwrap();
    while TcpStream::connect(running.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    server.gate.open();
    let rest = read_all(socket).await;
    assert!(rest.contains("\"finish_reason\":\"length\"") && rest.contains("data: [DONE]"), "{rest}");
    running.ended.await.unwrap();
}

#[tokio::test]
async fn after_the_grace_period_answers_are_cancelled() {
    let server = Fixture::with(Default::default(), 8).await;
    let running = start(&server, Duration::ZERO).await;
    server.gate.allow(3);
    let mut socket = send(running.address, &request(1500)).await;
    socket.read_exact(&mut [0; 64]).await.unwrap();
    running.stop.send(()).unwrap();
    server.step_until(running.ended).await.unwrap();
    let rest = read_all(socket).await;
    assert!(rest.contains("data: {\"error\":") && rest.contains("data: [DONE]"), "{rest}");
}

#[tokio::test]
async fn a_closed_connection_cancels_an_answer_that_is_not_streamed() {
    let server = Fixture::with(Default::default(), 8).await;
    let running = start(&server, Duration::from_secs(60)).await;
    server.gate.allow(3);
    let body = String::from_utf8(request(1500)).unwrap().replace("\"stream\":true", "\"stream\":null");
    let socket = send(running.address, body.as_bytes()).await;
    server.until(|stats| stats.steps_total == 3).await;
    drop(socket);
    let cancelled = async { server.until(|stats| stats.cancelled_total == 1).await };
    let stats = server.step_until(cancelled).await;
    assert_eq!(stats.blocks_used, 0);
    assert!(stats.generated_tokens_total < 1500, "{stats:?}");
    running.stop.send(()).unwrap();
    running.ended.await.unwrap();
}

#[tokio::test]
async fn heads_are_bounded_and_garbage_is_refused() {
    let server = Fixture::new().await;
    let running = start(&server, Duration::from_secs(1)).await;
    let huge = format!("GET /health HTTP/1.1\r\nhost: x\r\nx-a: {}\r\n\r\n", "y".repeat(1 << 20));
    let many = format!("GET /health HTTP/1.1\r\nhost: x\r\n{}\r\n", "a: b\r\n".repeat(1000));
    for bytes in
        [huge.as_bytes(), many.as_bytes(), b"\0\0\0\0\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", &[0xff; 4096]]
    {
        let mut socket = TcpStream::connect(running.address).await.unwrap();
        let _ = socket.write_all(bytes).await; // the server may close first
        let answer = read_all(socket).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    let alive = send(running.address, b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    assert!(read_all(alive).await.starts_with("HTTP/1.1 200"));
    running.stop.send(()).unwrap();
    running.ended.await.unwrap();
}

#[tokio::test]
async fn heads_that_http_forbids_are_refused() {
    let server = Fixture::new().await;
    let running = start(&server, Duration::from_secs(1)).await;
    for (fields, status) in [("", 400), ("host: x\r\ntransfer-encoding: gzip, chunked\r\n", 501)] {
        let request = format!("GET /health HTTP/1.1\r\nconnection: close\r\n{fields}\r\n");
        let answer = read_all(send(running.address, request.as_bytes()).await).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
        assert!(answer.contains("\"type\":\"invalid_request_error\""), "{answer}");
    }
    running.stop.send(()).unwrap();
    running.ended.await.unwrap();
}

#[tokio::test]
async fn half_a_request_does_not_hold_up_the_end() {
    let server = Fixture::new().await;
    let grace = Duration::from_secs(60);
    let running = start(&server, grace).await;
    let half_a_body = &request(3)[..120];
    let _head = send(running.address, b"GET /hea").await;
    let _body = send(running.address, half_a_body).await;
    // Both have arrived once a later request is answered.
    let later = send(running.address, b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    assert!(read_all(later).await.starts_with("HTTP/1.1 200"));
    running.stop.send(()).unwrap();
    tokio::time::timeout(grace / 3, running.ended).await.expect("it ends without the grace period").unwrap();
}

const HEALTH: &[u8] = b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n";

/// An answer with a length, and nothing after it.
async fn read_answer(socket: &mut TcpStream) -> String {
    let mut text = String::new();
    loop {
        let mut bytes = [0; 1024];
        let read = socket.read(&mut bytes).await.unwrap();
        assert_ne!(read, 0, "closed after {text:?}");
        text.push_str(std::str::from_utf8(&bytes[..read]).unwrap());
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        if body.len() == length.parse::<usize>().unwrap() {
            return text;
        }
    }
}

#[tokio::test]
async fn a_kept_connection_has_a_last_answer_that_says_so() {
    let server = Fixture::new().await;
    let running = start(&server, Duration::from_secs(60)).await;
    let mut kept = send(running.address, HEALTH).await;
    assert!(!read_answer(&mut kept).await.contains("connection: close"));
    running.stop.send(()).unwrap();
    while TcpStream::connect(running.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    kept.write_all(&request(3)).await.unwrap();
    let last = read_all(kept).await;
    assert!(last.starts_with("HTTP/1.1 200") && last.contains("connection: close"), "{last}");
    assert!(last.contains("data: [DONE]"), "{last}");
    running.ended.await.unwrap();
}

#[tokio::test]
async fn kept_connections_without_a_request_do_not_hold_up_the_end() {
    let server = Fixture::new().await;
    let grace = Duration::from_secs(60);
    let running = start(&server, grace).await;
    let mut kept = send(running.address, HEALTH).await;
    read_answer(&mut kept).await;
    running.stop.send(()).unwrap();
    tokio::time::timeout(grace / 3, running.ended).await.expect("it ends without the grace period").unwrap();
    assert_eq!(read_all(kept).await, "");
}

#[tokio::test]
async fn http2_is_told_to_go_at_once() {
    let server = Fixture::new().await;
    let running = start(&server, Duration::from_secs(60)).await;
    // Settings, and GET http://x/ on stream 1.
    let begin = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\x06\x01\x05\0\0\0\x01\x82\x86\x84\x41\x01x";
    let mut socket = send(running.address, begin).await;
    let mut frames = Frames(&mut socket);
    while frames.next().await != Some((HEADERS, 1)) {}
    // However long nothing was asked.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    running.stop.send(()).unwrap();
    let going = async { while frames.next().await.expect("it says that it goes").0 != GOAWAY {} };
    tokio::time::timeout(Duration::from_secs(2), going).await.expect("at once");
    // What was on its way is answered.
    let late = b"\0\0\x06\x01\x05\0\0\0\x03\x82\x86\x84\x41\x01x";
    frames.0.write_all(late).await.unwrap();
    while frames.next().await.expect("an answer") != (HEADERS, 3) {}
    running.ended.await.unwrap();
}

const HEADERS: u8 = 1;
const GOAWAY: u8 = 7;

/// Of HTTP/2, as kind and stream.
struct Frames<'a>(&'a mut TcpStream);

impl Frames<'_> {
    async fn next(&mut self) -> Option<(u8, u32)> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        self.0.read_exact(&mut vec![0; length as usize]).await.ok()?;
        Some((head[3], u32::from_be_bytes([head[5], head[6], head[7], head[8]])))
    }
}

#[tokio::test]
async fn a_connection_without_a_request_is_closed_and_one_with_an_answer_is_not() {
    let server = Fixture::with(Default::default(), 8).await;
    let idle_timeout = Duration::from_millis(300);
    let running = start_with(&server, ServerOptions { idle_timeout, ..ServerOptions::default() }).await;
    server.gate.allow(2);
    let mut answering = send(running.address, &request(3)).await;
    // Nothing; half a head; the beginning of an HTTP/2 preface; a whole one, with settings, and no request after it.
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    for bytes in [&b""[..], b"GET /hea", &preface[..9], preface] {
        let socket = send(running.address, bytes).await;
        let closed = tokio::time::timeout(Duration::from_secs(20), read_all(socket)).await;
        assert!(closed.is_ok(), "still open after {bytes:?}");
    }
    server.gate.open();
    let mut first = [0; 12];
    answering.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    assert!(read_all(answering).await.contains("[DONE]"));
    running.stop.send(()).unwrap();
    running.ended.await.unwrap();
}

/// Proxies keep connections for a minute and more, and lose the request of one that closes under it.
#[tokio::test]
async fn a_kept_connection_is_there_until_the_idle_timeout() {
    let server = Fixture::new().await;
    let running = start(&server, Duration::from_secs(1)).await;
    let mut kept = send(running.address, HEALTH).await;
    read_answer(&mut kept).await;
    tokio::time::pause();
    tokio::time::advance(ServerOptions::default().idle_timeout - Duration::from_secs(5)).await;
    tokio::time::resume();
    // Once another one is answered, timers that are due have run.
    read_answer(&mut send(running.address, HEALTH).await).await;
    kept.write_all(HEALTH).await.unwrap();
    read_answer(&mut kept).await;
    running.stop.send(()).unwrap();
    running.ended.await.unwrap();
}

#[tokio::test]
async fn a_taken_port_is_an_error_that_names_it() {
    let server = Fixture::new().await;
    let running = start(&server, Duration::from_secs(1)).await;
    let port = running.address.port();
    let options = ServerOptions { host: "127.0.0.1".into(), port, ..ServerOptions::default() };
    let error = Server::bind(options, server.models.clone()).await.err().unwrap();
    assert_eq!(error.to_string(), format!("cannot listen on 127.0.0.1:{port}"));
    running.stop.send(()).unwrap();
    running.ended.await.unwrap();
}
