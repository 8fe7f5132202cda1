//! A server that runs beside the test, on a port of its own.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStderr, Command};
use std::time::Duration;

use super::Home;

/// A server that is silent for so long hangs.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);

pub(crate) const CHAT: &str =
    r#"{"messages":[{"role":"user","content":"hi"}],"max_tokens":4,"temperature":0}"#;

/// A running server.
pub(crate) struct Running {
    child: Child,
    pub(crate) log: BufReader<ChildStderr>,
    pub(crate) address: String,
}

impl Running {
    pub(crate) fn start(home: &Home, arguments: &[&str]) -> Running {
        Running::of(home.command(arguments))
    }

    /// Of a command that lacks host and port only.
    pub(crate) fn of(mut command: Command) -> Running {
        let mut child = command.args(["--host", "127.0.0.1", "--port", "0"]).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("listening") {
            line.clear();
            assert_ne!(log.read_line(&mut line).unwrap(), 0, "it ended before it listened");
        }
        let address = line.split("address=").nth(1).unwrap().trim().to_owned();
        Running { child, log, address }
    }

    /// Status code and body.
    pub(crate) fn request(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(ANSWER_LIMIT)).unwrap();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: ostro\r\nconnection: close\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        (status, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
    }

    pub(crate) fn signal(&self, name: &str) {
        let status =
            Command::new("sh").args(["-c", &format!("kill -{name} {}", self.child.id())]).status().unwrap();
        assert!(status.success());
    }

    /// Exit code and the rest of the log.
    pub(crate) fn end(mut self) -> (Option<i32>, String) {
        let mut log = String::new();
        self.log.read_to_string(&mut log).unwrap();
        (self.child.wait().unwrap().code(), log)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
    }
}
