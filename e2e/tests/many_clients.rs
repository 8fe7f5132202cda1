//! 64 clients at once that leave when they like: no error, no leak, the KV cache empty afterwards.
#![allow(clippy::unwrap_used)] // the helpers of a test fail like the test

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use ostro_e2e::{daemon::Daemon, http, model};
use serde_json::{Value, json};

const CLIENTS: u64 = 64;
/// As the daemon has it unless told.
const BLOCK_TOKENS: usize = 32;

/// A stream that ends in time for the daemon that stops has the processors for itself.
static PROCESSORS: Mutex<()> = Mutex::new(());

/// What one client saw.
#[derive(Debug, PartialEq)]
enum End {
    /// Left after this many chunks.
    Left(u64),
    /// Read to the end.
    Done,
}

/// Streams a chat over a plain socket, so that leaving closes the connection at once.
fn client(daemon: &Daemon, model: &str, seed: u64) -> End {
    let leaves_after = if seed.is_multiple_of(3) { u64::MAX } else { seed * 7 % 23 };
    let body = json!({
        "model": model, "stream": true, "max_tokens": 48, "seed": seed, "ignore_eos": true,
        "messages": [{"role": "user", "content": format!("Tell me story number {seed} about a river.")}],
    })
    .to_string();
    let mut socket = TcpStream::connect(("127.0.0.1", daemon.port())).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
    write!(
        socket,
        "POST /v1/chat/completions HTTP/1.1\r\nhost: ostro\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut lines = BufReader::new(socket).lines().map(Result::unwrap);
    let status = lines.next().unwrap();
    assert!(status.contains(" 200 "), "client {seed}: {status}");
    let mut chunks = 0;
    for line in lines {
        let Some(at) = line.find("data: ") else { continue };
        let data = &line[at + 6..];
        if data == "[DONE]" {
            return End::Done;
        }
        let chunk: Value = serde_json::from_str(data).unwrap_or_else(|e| panic!("{data}: {e}"));
        assert!(chunk.get("error").is_none(), "client {seed}: {chunk}");
        chunks += 1;
        if chunks > leaves_after {
            return End::Left(chunks);
        }
    }
    panic!("client {seed}: the stream ended without [DONE]");
}

fn round(daemon: &Daemon, model: &str) -> Vec<End> {
    std::thread::scope(|scope| {
        let clients: Vec<_> =
            (0..CLIENTS).map(|seed| scope.spawn(move || client(daemon, model, seed))).collect();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    })
}

fn await_idle(daemon: &Daemon) {
    let start = Instant::now();
    let busy = || {
        ["ostro_requests_running", "ostro_requests_waiting", "ostro_kv_blocks_used"]
            .map(|name| daemon.metric(name).unwrap())
    };
    while busy() != [0.0; 3] {
        assert!(start.elapsed() < Duration::from_secs(30), "still busy: {:?}", busy());
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Memory of the cache that is written for the first time later on would look like a leak: how much of it 64 clients
/// need at once is a matter of their timing.
fn fill_cache(daemon: &Daemon, model: &str) {
    let tokens = daemon.metric("ostro_kv_blocks").unwrap() as usize * BLOCK_TOKENS;
    let body = json!({ "model": model, "max_tokens": 1, "prompt": "river ".repeat(tokens - BLOCK_TOKENS) });
    let mut response = http::post(&format!("{}/v1/completions", daemon.base())).send_json(&body).unwrap();
    let answer: Value = response.body_mut().read_json().unwrap();
    let written = answer["usage"]["prompt_tokens"].as_u64().unwrap() as usize;
    assert!(written + 2 * BLOCK_TOKENS > tokens, "{written} of {tokens}");
}

#[test]
fn sixty_four_clients_that_come_and_go_leave_nothing_behind() {
    let _alone = PROCESSORS.lock().unwrap_or_else(PoisonError::into_inner);
    let model = model::ensure_smollm2().expect("the model can be fetched");
    let mut daemon = Daemon::start(&model, &["--max-seqs", "32", "--pa-memory-mb", "96"]).unwrap();
    let id = daemon.model_id().unwrap();
    fill_cache(&daemon, &id);
    let warm = round(&daemon, &id);
    assert!(warm.contains(&End::Done) && warm.iter().any(|end| matches!(end, End::Left(_))));
    await_idle(&daemon);
    let before = daemon.resident_bytes().unwrap();
    for _ in 0..2 {
        round(&daemon, &id);
    }
    await_idle(&daemon);
    let grown = daemon.resident_bytes().unwrap().saturating_sub(before);
    assert!(grown < 16 << 20, "memory grew by {grown} bytes over two more rounds");
    assert!(daemon.terminate(Duration::from_secs(20)).unwrap().success());
}

#[test]
fn sigterm_lets_a_running_stream_finish() {
    let _alone = PROCESSORS.lock().unwrap_or_else(PoisonError::into_inner);
    let model = model::ensure_smollm2().expect("the model can be fetched");
    let mut daemon = Daemon::start(&model, &[]).unwrap();
    let body = json!({
        "model": daemon.model_id().unwrap(), "stream": true, "max_tokens": 200, "ignore_eos": true,
        "messages": [{"role": "user", "content": "Count."}],
    });
    let mut response =
        http::post(&format!("{}/v1/chat/completions", daemon.base())).send_json(&body).unwrap();
    let mut reader = response.body_mut().as_reader();
    let mut first = [0; 16];
    reader.read_exact(&mut first).unwrap();
    daemon.signal("TERM").unwrap();
    let mut rest = String::new();
    reader.read_to_string(&mut rest).unwrap();
    assert!(rest.trim_end().ends_with("data: [DONE]"), "{rest}");
    assert_eq!(rest.matches("\"finish_reason\":\"length\"").count(), 1, "{rest}");
    assert!(daemon.terminate(Duration::from_secs(20)).unwrap().success());
}
