//! Over real sockets, on one thread: what a test sends before it waits is there before the port looks.

use std::io::Write;
use std::net::SocketAddr;

use axum::routing::get;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use super::*;
use crate::http::{Health, routes};
use crate::metrics::Metrics;
use crate::readiness::Readiness;

const NOTHING: &[u8] = b"";
const REQUEST: &[u8] = b"GET /healthz HTTP/1.1\r\nhost: o\r\n\r\n";
const LAST_REQUEST: &[u8] = b"GET /healthz HTTP/1.1\r\nhost: o\r\nconnection: close\r\n\r\n";
const HALF_REQUEST: &[u8] = b"GET /healthz HT";

const SHORT: Duration = Duration::from_millis(100);
/// For what has to happen.
const PATIENCE: Duration = Duration::from_secs(10);
/// Of a limit that another test is about.
const LONG: Duration = Duration::from_secs(3600);
const LIMITS: Limits =
    Limits { connections_max: 8, first_head: LONG, idle: LONG, life: LONG, last_answer: LONG };

async fn start(limits: Limits) -> SocketAddr {
    start_counted(limits).await.0
}

/// And its count of displaced connections.
async fn start_counted(limits: Limits) -> (SocketAddr, Counter) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let health = Health { readiness: Readiness::default(), metrics: Metrics::new() };
    let displaced = health.metrics.displaced.clone();
    tokio::spawn(serve(listener, routes(health), (limits, displaced.clone())));
    (address, displaced)
}

/// Does not wait, so that the port sees nothing of it yet.
fn connect(address: SocketAddr, sent: &[u8]) -> TcpStream {
    let mut socket = std::net::TcpStream::connect(address).unwrap();
    socket.write_all(sent).unwrap();
    socket.set_nonblocking(true).unwrap();
    TcpStream::from_std(socket).unwrap()
}

fn connect_many(address: SocketAddr, sent: &[u8]) -> Vec<TcpStream> {
    (0..2 * LIMITS.connections_max).map(|_| connect(address, sent)).collect()
}

/// What comes until the port closes the connection.
async fn read_all(mut socket: TcpStream) -> String {
    let mut bytes = Vec::new();
    let read = timeout(PATIENCE, socket.read_to_end(&mut bytes)).await;
    // A reset is an end too.
    let _ = read.expect("the connection stays open");
    String::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn silent_connections_keep_no_request_out() {
    for sent in [NOTHING, HALF_REQUEST, REQUEST] {
        let (address, displaced) = start_counted(LIMITS).await;
        let mut others = connect_many(address, sent);
        assert!(read_all(connect(address, LAST_REQUEST)).await.ends_with("ok"));
        assert_eq!(displaced.get() as usize, LIMITS.connections_max + 1);
        // All but seven, beside which the request had its place.
        let rest = others.split_off(LIMITS.connections_max + 1);
        for other in others {
            read_all(other).await;
        }
        for mut other in rest {
            let ends = async { while other.read(&mut [0; 1024]).await.is_ok_and(|bytes| bytes > 0) {} };
            assert!(timeout(Duration::from_millis(10), ends).await.is_err());
        }
    }
}

#[tokio::test]
async fn a_request_is_answered_though_many_connections_come_after_it() {
    let address = start(LIMITS).await;
    let asking = connect(address, REQUEST);
    let _silent = connect_many(address, NOTHING);
    assert!(read_all(asking).await.ends_with("ok"));
}

#[tokio::test]
async fn a_connection_without_a_whole_head_is_closed() {
    let address = start(Limits { first_head: SHORT, ..LIMITS }).await;
    for sent in [NOTHING, HALF_REQUEST] {
        assert_eq!(read_all(connect(address, sent)).await, "");
    }
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let address = start(Limits { idle: SHORT, ..LIMITS }).await;
    assert!(read_all(connect(address, REQUEST)).await.ends_with("ok"));
}

#[tokio::test]
async fn a_connection_that_was_used_may_be_used_again() {
    let address = start(Limits { first_head: SHORT, ..LIMITS }).await;
    let mut socket = connect(address, REQUEST);
    sleep(2 * SHORT).await;
    socket.write_all(LAST_REQUEST).await.unwrap();
    assert_eq!(read_all(socket).await.matches("200 OK").count(), 2);
}

#[tokio::test]
async fn an_answer_that_nobody_reads_holds_no_place() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let routes = Router::new().route("/healthz", get(|| async { vec![b' '; 64 << 20] }));
    let _client = connect(listener.local_addr().unwrap(), REQUEST);
    let (socket, _) = listener.accept().await.unwrap();
    let limits = Limits { first_head: SHORT, life: SHORT, last_answer: SHORT, ..LIMITS };
    let began = Instant::now();
    timeout(PATIENCE, answer(socket, routes, limits)).await.unwrap();
    assert!(began.elapsed() >= 3 * SHORT);
}
