//! An OpenAI server on plain sockets that answers each request as the test says, also wrongly.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

/// Bytes to send before the connection is closed.
pub(super) struct Reply(String);

/// Serves until the test's process ends.
pub(super) struct ScriptedServer {
    address: std::net::SocketAddr,
    prompts: Arc<Mutex<Vec<String>>>,
}

type Script = Arc<dyn Fn(usize, &Value) -> Reply + Send + Sync>;

const MODELS: &str = r#"{"data":[{"id":"scripted"}]}"#;

impl Reply {
    pub(super) fn status(code: u16, body: &str) -> Reply {
        Reply(format!(
            "HTTP/1.1 {code} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        ))
    }

    /// An event of each text, chunked as servers do.
    pub(super) fn stream(events: &[&str]) -> Reply {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\
            connection: close\r\n\r\n";
        let chunk = |event: &&str| format!("{:x}\r\ndata: {event}\n\n\r\n", event.len() + 8);
        Reply(format!("{head}{}0\r\n\r\n", events.iter().map(chunk).collect::<String>()))
    }

    /// The connection closes without a word.
    pub(super) fn nothing() -> Reply {
        Reply(String::new())
    }

    /// Ends before the middle of its last chunks.
    pub(super) fn cut(mut self) -> Reply {
        self.0.truncate(self.0.len() / 2);
        self
    }
}

/// An answer of so many tokens, with usage when the request asks for it: two tokens a word, nine of a template.
pub(super) fn answer(request: &Value, tokens: usize) -> Reply {
    let piece = json!({"choices": [{"delta": {"content": " x"}, "finish_reason": null}]}).to_string();
    let role = json!({"choices": [{"delta": {"role": "assistant", "content": ""}}]}).to_string();
    let end = json!({"choices": [{"delta": {}, "finish_reason": "length"}]}).to_string();
    let prompt_tokens = prompt(request).split(' ').count() * 2 + 9;
    let usage =
        json!({"choices": [], "usage": {"prompt_tokens": prompt_tokens, "completion_tokens": tokens}});
    let usage = usage.to_string();
    let mut events = vec![role.as_str()];
    events.extend(std::iter::repeat_n(piece.as_str(), tokens));
    events.push(&end);
    if request["stream_options"]["include_usage"] == true {
        events.push(&usage);
    }
    events.push("[DONE]");
    Reply::stream(&events)
}

fn prompt(request: &Value) -> &str {
    request["messages"][0]["content"].as_str().unwrap()
}

impl ScriptedServer {
    /// `script` gets the number of the completion request, from 0, and its body.
    pub(super) fn start(script: impl Fn(usize, &Value) -> Reply + Send + Sync + 'static) -> ScriptedServer {
        ScriptedServer::listing(MODELS, script)
    }

    /// As `start`, with `models` for the body of `/v1/models`.
    pub(super) fn listing(
        models: &str,
        script: impl Fn(usize, &Value) -> Reply + Send + Sync + 'static,
    ) -> ScriptedServer {
        let models: Arc<str> = models.into();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (script, count, prompts): (Script, _, Arc<Mutex<Vec<String>>>) =
            (Arc::new(script), Arc::new(AtomicUsize::new(0)), Arc::default());
        let heard = prompts.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (models, script) = (models.clone(), script.clone());
                let (count, heard) = (count.clone(), heard.clone());
                std::thread::spawn(move || serve(stream, &models, &script, &count, &heard));
            }
        });
        ScriptedServer { address, prompts }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// Of all completion requests, in the order they came.
    pub(super) fn prompts(&self) -> Vec<String> {
        self.prompts.lock().unwrap().clone()
    }
}

fn serve(
    mut stream: TcpStream,
    models: &str,
    script: &Script,
    count: &AtomicUsize,
    heard: &Mutex<Vec<String>>,
) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let (mut line, mut length, mut path) = (String::new(), 0, String::new());
    while reader.read_line(&mut line).unwrap() > 0 && line.trim() != "" {
        if path.is_empty() {
            path = line.split(' ').nth(1).unwrap().to_owned();
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        line.clear();
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let reply = match path.as_str() {
        "/v1/models" => Reply::status(200, models),
        "/v1/chat/completions" => {
            let request: Value = serde_json::from_slice(&body).unwrap();
            heard.lock().unwrap().push(prompt(&request).to_owned());
            script(count.fetch_add(1, Ordering::SeqCst), &request)
        }
        _ => Reply::status(404, ""),
    };
    // The client may have gone.
    let _ = stream.write_all(reply.0.as_bytes());
}
