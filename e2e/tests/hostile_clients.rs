//! Bytes no honest client sends: each gets an error (or a closed connection), and the daemon lives on.
#![allow(clippy::unwrap_used)] // the helpers of a test fail like the test

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use ostro_e2e::{daemon::Daemon, model};
use serde_json::{Value, json};

/// Sends raw bytes and returns the status line's code and the body, or `None` when it was cut off.
fn send(daemon: &Daemon, bytes: &[u8]) -> Option<(u16, String)> {
    let mut socket = TcpStream::connect(("127.0.0.1", daemon.port())).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let _ = socket.write_all(bytes); // the daemon may close before it has read all
    let mut answer = Vec::new();
    let _ = socket.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let code = answer.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    Some((code, answer.split_once("\r\n\r\n")?.1.to_owned()))
}

fn post(daemon: &Daemon, path: &str, body: &[u8]) -> Option<(u16, String)> {
    let mut bytes = format!(
        "POST {path} HTTP/1.1\r\nhost: ostro\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    bytes.extend_from_slice(body);
    send(daemon, &bytes)
}

fn chat_with(field: &str, value: Value) -> Vec<u8> {
    let mut body = json!({"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4});
    body[field] = value;
    body.to_string().into_bytes()
}

fn bodies() -> Vec<(&'static str, Vec<u8>)> {
    let deep = |open: &str, close: &str| format!("{}{}", open.repeat(100_000), close.repeat(100_000));
    vec![
        ("empty", Vec::new()),
        ("not JSON", b"hello".to_vec()),
        ("deep arrays", deep("[", "]").into_bytes()),
        ("deep objects", deep("{\"a\":", "}").into_bytes()),
        ("invalid UTF-8", b"{\"messages\":[{\"role\":\"user\",\"content\":\"\xff\xfe\"}]}".to_vec()),
        ("lone surrogate", br#"{"messages":[{"role":"user","content":"\ud800"}]}"#.to_vec()),
        ("cut short", br#"{"messages":[{"role":"user","content":"Hi"#.to_vec()),
        (
            "duplicate field",
            br#"{"messages":[],"messages":[{"role":"user","content":"x"}],"n":1,"n":2}"#.to_vec(),
        ),
        ("huge integer", chat_with("max_tokens", json!(u64::MAX))),
        ("huge float", br#"{"messages":[{"role":"user","content":"x"}],"temperature":1e999}"#.to_vec()),
        ("negative count", chat_with("max_tokens", json!(-1))),
        ("fraction", chat_with("n", json!(1.5))),
        ("many choices", chat_with("n", json!(1_000_000))),
        ("1 MB stop list", chat_with("stop", json!(vec!["x".repeat(10); 100_000]))),
        ("1 MB stop string", chat_with("stop", json!("x".repeat(1 << 20)))),
        ("all logprobs", chat_with("top_logprobs", json!(1_000_000_000))),
        ("bias out of range", chat_with("logit_bias", json!({"99999999": 1}))),
        ("bias not a number", chat_with("logit_bias", json!({"x": 1}))),
        ("wrong type", chat_with("messages", json!({"role": "user"}))),
        ("unknown role", chat_with("messages", json!([{"role": "emperor", "content": "x"}]))),
        ("long prompt", chat_with("messages", json!([{"role": "user", "content": "word ".repeat(200_000)}]))),
        (
            "100k messages",
            chat_with("messages", json!(vec![json!({"role": "user", "content": "x"}); 100_000])),
        ),
        ("unknown field", chat_with("temprature", json!(1))),
        (
            "template in the request",
            chat_with("chat_template", json!("{% for i in range(1e9) %}x{% endfor %}")),
        ),
    ]
}

#[test]
fn hostile_bodies_get_a_clear_4xx_each() {
    let daemon = Daemon::start(&model::ensure_smollm2().unwrap(), &[]).unwrap();
    for (name, body) in bodies() {
        let (code, text) =
            post(&daemon, "/v1/chat/completions", &body).unwrap_or_else(|| panic!("{name}: no answer"));
        assert!((400..500).contains(&code), "{name}: {code} {text:.300}");
        let error: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{name}: {e}: {text:.300}"));
        assert!(error["error"]["message"].as_str().is_some_and(|m| !m.is_empty()), "{name}: {text:.300}");
        assert!(text.len() < 4096, "{name}: the error repeats the input: {} bytes", text.len());
    }
    assert_eq!(post(&daemon, "/v1/chat/completions", &chat_with("n", json!(1))).unwrap().0, 200);
}

#[test]
fn hostile_bytes_leave_the_daemon_serving() {
    let daemon = Daemon::start(&model::ensure_smollm2().unwrap(), &[]).unwrap();
    let huge_header = format!("GET /health HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(4 << 20));
    let too_large = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: o\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n",
        51 << 20
    );
    let refused = send(&daemon, too_large.as_bytes()).map(|(code, _)| code);
    assert_eq!(refused, Some(413));
    for bytes in [huge_header.as_bytes(), b"\0\0\0\0\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", &[0xff; 65536]] {
        if let Some((code, _)) = send(&daemon, bytes) {
            assert!((400..506).contains(&code), "{code}");
        }
    }
    assert_eq!(post(&daemon, "/v1/chat/completions", &chat_with("n", json!(1))).unwrap().0, 200);
}
