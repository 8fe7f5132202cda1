//! The end of a listening server: who is answered still, and what does not hold it up.

use std::time::Duration;

use ostro_server::{ModelSource, Models, ServerOptions};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::fixture::Fixture;
use crate::listening::{HEALTH, read_all, read_answer, request, send, start, start_models};

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
    for (stream, status, end) in [("true", 200, "data: [DONE]"), ("null", 503, "\r\nretry-after: 1\r\n")] {
        let server = Fixture::with(Default::default(), 8).await;
        let running = start(&server, Duration::ZERO).await;
        server.gate.allow(3);
        let request = String::from_utf8(request(1500)).unwrap();
        let request = request.replace("\"stream\":true", &format!("\"stream\":{stream}"));
        let socket = send(running.address, request.as_bytes()).await;
        server.until(|stats| stats.steps_total == 3).await;
        running.stop.send(()).unwrap();
        server.step_until(running.ended).await.unwrap();
        let answer = read_all(socket).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")) && answer.contains(end), "{answer}");
        assert!(answer.contains("{\"error\":") && answer.contains("\"code\":\"shutting_down\""), "{answer}");
    }
}

#[tokio::test]
async fn a_step_that_stands_still_holds_no_process_back() {
    let server = Fixture::with(Default::default(), 8).await;
    let running = start(&server, Duration::ZERO).await;
    server.gate.allow(3);
    let mut socket = send(running.address, &request(1500)).await;
    socket.read_exact(&mut [0; 64]).await.unwrap();
    running.stop.send(()).unwrap();
    tokio::time::timeout(Duration::from_secs(30), running.ended).await.unwrap().unwrap();
    let rest = read_all(socket).await;
    assert!(rest.contains("\"code\":\"shutting_down\"") && rest.contains("data: [DONE]"), "{rest}");
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

#[tokio::test]
async fn requests_for_a_loading_model_do_not_hold_up_the_end() {
    let (release, released) = std::sync::mpsc::channel::<()>();
    let source = ModelSource::new("slow", move |_| {
        let _ = released.recv();
        Err("let go".into())
    });
    let grace = Duration::from_secs(60);
    let options = ServerOptions { grace, ..ServerOptions::default() };
    let running = start_models(Models::load(vec![source], None).unwrap(), options).await;
    let waiting = send(running.address, &request(3)).await;
    // It has arrived once a later request is answered.
    read_answer(&mut send(running.address, HEALTH).await).await;
    running.stop.send(()).unwrap();
    tokio::time::timeout(grace / 3, running.ended).await.expect("it ends without the grace period").unwrap();
    let answer = read_all(waiting).await;
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("shutting_down"), "{answer}");
    drop(release);
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
async fn an_answer_that_is_read_slowly_is_not_cut() {
    let server = Fixture::new().await;
    let running = start(&server, Duration::from_secs(60)).await;
    // The answer is far more than sockets hold: some eight bytes a token.
    let body = json!({"prompt": " a".repeat(600_000), "return_token_strs": true}).to_string();
    let length = body.len();
    let request = format!("POST /tokenize HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n{body}");
    let mut socket = send(running.address, request.as_bytes()).await;
    socket.read_exact(&mut [0; 12]).await.unwrap();
    running.stop.send(()).unwrap();
    while TcpStream::connect(running.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    tokio::time::pause();
    for _ in 0..10 {
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    tokio::time::resume();
    let rest = read_all(socket).await;
    assert!(rest.ends_with('}'), "cut after {} bytes", rest.len());
    running.ended.await.unwrap();
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
