//! A listening server and bare sockets to it.

use std::time::Duration;

use ostro_server::{Models, Server, ServerOptions};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::fixture::{Fixture, chat};

pub struct Running {
    pub address: std::net::SocketAddr,
    pub stop: oneshot::Sender<()>,
    pub ended: JoinHandle<()>,
}

pub async fn start(server: &Fixture, grace: Duration) -> Running {
    start_with(server, ServerOptions { grace, ..ServerOptions::default() }).await
}

pub async fn start_with(server: &Fixture, options: ServerOptions) -> Running {
    start_models(server.models.clone(), options).await
}

pub async fn start_models(models: Models, options: ServerOptions) -> Running {
    let options = ServerOptions { host: "127.0.0.1".into(), port: 0, ..options };
    let listening = Server::bind(options, models).await.unwrap();
    let address = listening.address();
    let (stop, stopped) = oneshot::channel();
    let ended = tokio::spawn(listening.run(async {
        let _ = stopped.await;
    }));
    Running { address, stop, ended }
}

pub async fn send(address: std::net::SocketAddr, bytes: &[u8]) -> TcpStream {
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.write_all(bytes).await.unwrap();
    socket
}

pub fn request(max_tokens: u64) -> Vec<u8> {
    let fields = json!({"stream": true, "max_tokens": max_tokens, "ignore_eos": true});
    let body = chat(fields).to_string();
    let length = body.len();
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json";
    format!("{head}\r\ncontent-length: {length}\r\n\r\n{body}").into_bytes()
}

pub async fn read_all(mut socket: TcpStream) -> String {
    let mut text = Vec::new();
    // A reset after the answer is an end too.
    let _ = socket.read_to_end(&mut text).await;
    String::from_utf8_lossy(&text).into_owned()
}

pub const HEALTH: &[u8] = b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n";

/// An answer with a length, and nothing after it.
pub async fn read_answer(socket: &mut TcpStream) -> String {
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
