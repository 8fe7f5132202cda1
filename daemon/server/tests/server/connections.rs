//! Connections of a listening server: limits of a request's head, idle ones, those that clients leave.

use std::net::SocketAddr;
use std::time::Duration;

use ostro_server::{Server, ServerOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::fixture::Fixture;
use crate::listening::{HEALTH, read_all, read_answer, request, send, start, start_with};

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
async fn an_answer_that_its_client_does_not_take_is_cancelled() {
    let server = Fixture::with(Default::default(), 8).await;
    let idle_timeout = Duration::from_millis(300);
    let running = start_with(&server, ServerOptions { idle_timeout, ..ServerOptions::default() }).await;
    let socket = TcpSocket::new_v4().unwrap();
    // A few events are all that it has room for.
    socket.set_recv_buffer_size(4096).unwrap();
    let mut silent = socket.connect(running.address).await.unwrap();
    silent.write_all(&request(1500)).await.unwrap();
    let cancelled = async {
        while server.engine.stats().cancelled_total == 0 {
            server.gate.allow(1);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), cancelled).await.expect("it is waited for");
    running.stop.send(()).unwrap();
    running.ended.await.unwrap();
}

/// A connection's task may end after its client has seen the end.
async fn until_counted(address: SocketAddr, line: &str) {
    let scrape = b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let mut metrics = String::new();
    let counted = async {
        while !metrics.lines().any(|have| have == line) {
            metrics = read_all(send(address, scrape).await).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(20), counted).await;
    assert!(waited.is_ok(), "{line} is not in:\n{metrics}");
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
    for line in [
        r#"ostro_http_heads_refused_total{reason="too_large"} 2"#,
        r#"ostro_http_heads_refused_total{reason="malformed"} 3"#,
    ] {
        until_counted(running.address, line).await;
    }
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
    until_counted(running.address, r#"ostro_http_heads_refused_total{reason="malformed"} 2"#).await;
    running.stop.send(()).unwrap();
    running.ended.await.unwrap();
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

#[tokio::test]
async fn an_idle_connection_gives_its_place_to_another_one() {
    let server = Fixture::with(Default::default(), 8).await;
    let grace = Duration::from_secs(1);
    let options = ServerOptions { connections_max: 3, grace, ..ServerOptions::default() };
    let running = start_with(&server, options).await;
    server.gate.allow(1);
    let answering = send(running.address, &request(3)).await;
    server.until(|stats| stats.steps_total == 1).await;
    let silent = send(running.address, b"").await;
    let mut kept = send(running.address, HEALTH).await;
    read_answer(&mut kept).await;
    let mut other = send(running.address, HEALTH).await;
    let answer = tokio::time::timeout(Duration::from_secs(20), read_answer(&mut other)).await;
    assert!(answer.expect("it gets in").starts_with("HTTP/1.1 200"));
    assert_eq!(read_all(silent).await, "");
    kept.write_all(HEALTH).await.unwrap();
    read_answer(&mut kept).await;
    server.gate.open();
    running.stop.send(()).unwrap();
    assert!(read_all(answering).await.contains("[DONE]"));
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
