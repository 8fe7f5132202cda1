//! `ostro serve` on a tiny random model: opens its port, answers, drains at SIGTERM.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::support::running::{CHAT, Running};
use crate::support::{Home, text};

#[test]
fn server_answers_and_drains_at_either_signal() {
    for signal in ["TERM", "INT"] {
        let home = Home::new();
        let model = home.tiny_model();
        let server = Running::start(&home, &["serve", "-m", text(&model)]);
        let (status, body) = server.request("POST", "/v1/chat/completions", CHAT);
        assert_eq!(status, 200, "{body}");
        assert!(body.contains("\"chat.completion\""), "{body}");
        assert!(server.request("GET", "/v1/models", "").1.contains(text(&model)));
        server.signal(signal);
        let (code, log) = server.end();
        assert_eq!(code, Some(0), "{log}");
    }
}

/// A pipe holds 64 KiB, some 200 requests.
#[test]
fn a_log_that_nobody_reads_holds_up_no_request() {
    let home = Home::new();
    let model = home.tiny_model();
    let server = Running::start(&home, &["serve", "-m", text(&model)]);
    for _ in 0..500 {
        assert_eq!(server.request("GET", "/v1/models", "").0, 200);
    }
    server.signal("TERM");
    let (code, log) = server.end();
    assert_eq!(code, Some(0), "{log}");
}

/// Nor does it hold up an end that has a reason to tell.
#[test]
fn a_server_that_fails_ends_although_nobody_reads_why() {
    let home = Home::new();
    home.write("a.gguf", "not a model");
    let (_unread, mut full) = std::io::pipe().unwrap();
    full.write_all(&[b'.'; 64 << 10]).unwrap();
    let mut command = home.command(&["serve", "-m", "a.gguf", "--host", "127.0.0.1", "--port", "0"]);
    let mut child = command.stderr(full).spawn().unwrap();
    let began = Instant::now();
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break status,
            None if began.elapsed() < Duration::from_secs(60) => {
                std::thread::sleep(Duration::from_millis(20))
            }
            None => {
                child.kill().unwrap();
                panic!("it waits for a reader");
            }
        }
    };
    assert_eq!(status.code(), Some(1));
}

#[test]
fn second_ctrl_c_ends_the_server_at_once() {
    let home = Home::new();
    let model = home.tiny_model();
    let mut server = Running::start(&home, &["serve", "-m", text(&model)]);
    let _half = half_a_request(&server);
    server.signal("INT");
    let mut line = String::new();
    while !line.contains("shutting down") {
        line.clear();
        assert_ne!(server.log.read_line(&mut line).unwrap(), 0, "it ended too early");
    }
    server.signal("INT");
    let (code, log) = server.end();
    assert_eq!(code, Some(130), "{log}");
}

/// Which connections are allowed where so many files may be open, as the log has it.
fn log_of_limits(ulimit: &str) -> String {
    let home = Home::new();
    home.write("a.gguf", "not a model");
    let ostro = home.command(&["serve", "-m", "a.gguf", "--host", "127.0.0.1", "--port", "0"]);
    let mut limited = home.command_of("/bin/sh", &["-c", &format!("{ulimit} && exec \"$@\""), "sh"]);
    limited.arg(ostro.get_program()).args(ostro.get_args());
    let output = limited.env_clear().env("HOME", home.folder.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn open_files_bound_the_connections() {
    let log = log_of_limits("ulimit -n 300");
    assert!(log.contains("descriptors_max=300 connections_max=172 wanted=16384"), "{log}");
    // The soft limit is raised to the hard one.
    let log = log_of_limits("ulimit -n 300 && ulimit -S -n 100");
    assert!(log.contains("descriptors_max=300 connections_max=172"), "{log}");
}

#[test]
fn what_runs_gets_the_time_that_the_environment_says() {
    let home = Home::new();
    let model = home.tiny_model();
    let mut command = home.command(&["serve", "-m", text(&model)]);
    command.env("OSTRO_DRAIN_SECONDS", "1");
    let server = Running::of(command);
    let _half = half_a_request(&server);
    server.signal("TERM");
    let began = Instant::now();
    let (code, log) = server.end();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("the grace period is over") && log.contains("grace_s=1"), "{log}");
    assert!(began.elapsed() < Duration::from_secs(20), "{log}");
}

/// What is left of its body is waited for once the server reads it, as it says by a 100.
fn half_a_request(server: &Running) -> TcpStream {
    let mut half = TcpStream::connect(&server.address).unwrap();
    let head =
        "POST /v1/completions HTTP/1.1\r\nhost: ostro\r\nexpect: 100-continue\r\ncontent-length: 100\r\n\r\n";
    half.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    BufReader::new(&half).read_line(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 100"), "{answer}");
    half.write_all(b"{").unwrap();
    half
}

#[test]
fn switches_of_the_server_reach_it() {
    let home = Home::new();
    let model = home.tiny_model();
    home.write(
        "a.toml",
        &format!(
            "[server]\ndisable_metrics = true\naccess_log_format = \"json\"\n[global]\nlog = \"payload.log\"\n\
             [[models]]\nmodel_id = {:?}\n",
            text(&model)
        ),
    );
    let server = Running::start(&home, &["from-config", "-f", "a.toml"]);
    assert_ne!(server.request("GET", "/metrics", "").0, 200);
    assert_eq!(server.request("POST", "/v1/chat/completions", CHAT).0, 200);
    server.signal("TERM");
    let (code, log) = server.end();
    assert_eq!(code, Some(0), "{log}");
    let access = log.lines().find(|line| line.contains("request completed")).expect("an access log");
    assert!(access.starts_with('{') && access.ends_with('}'), "{access}");
    let payloads = std::fs::read_to_string(home.folder.path().join("payload.log")).unwrap();
    assert!(payloads.contains("\\\"hi\\\"") || payloads.contains("\"hi\""), "{payloads}");
}

#[test]
fn seed_of_the_configuration_makes_answers_repeat() {
    let home = Home::new();
    let model = home.tiny_model();
    let server = Running::start(&home, &["serve", "-m", text(&model), "--seed", "5"]);
    let body = CHAT.replace("\"temperature\":0", "\"temperature\":2");
    let content = |answer: String| {
        answer.split("\"content\":").nth(1).unwrap().split("\"usage\"").next().unwrap().to_owned()
    };
    let answers: Vec<String> =
        (0..4).map(|_| content(server.request("POST", "/v1/chat/completions", &body).1)).collect();
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
}

#[test]
fn a_hub_that_does_not_answer_is_what_the_model_waits_for() {
    let home = Home::new();
    // Takes connections, and that is all.
    let hub = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut command = home.command(&["serve", "-m", "a/b"]);
    command.env("HF_ENDPOINT", format!("http://{}", hub.local_addr().unwrap()));
    let server = Running::of(command);
    let _asked = hub.accept().unwrap();
    let models = server.request("GET", "/v1/models", "").1;
    assert!(models.contains(r#""stage":"asking the hub""#), "{models}");
}

#[test]
fn model_that_does_not_load_ends_the_server() {
    let home = Home::new();
    home.write("a.gguf", "not a model");
    let began = Instant::now();
    let ended = home.run(&["serve", "-m", "a.gguf", "--host", "127.0.0.1", "--port", "0"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.errors.contains("a.gguf"), "{ended:?}");
    assert!(began.elapsed() < Duration::from_secs(60));
}

#[test]
fn a_server_that_wants_all_models_ends_without_one() {
    let home = Home::new();
    let model = home.tiny_model();
    home.write("b.gguf", "not a model");
    home.write(
        "a.toml",
        &format!(
            "[server]\nhost = \"127.0.0.1\"\nport = 0\n[[models]]\nmodel_id = {:?}\n[[models]]\nmodel_id = \"b.gguf\"\n",
            text(&model)
        ),
    );
    let mut command = home.command(&["from-config", "-f", "a.toml"]);
    let output = command.env("OSTRO_ALL_MODELS", "1").output().unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{errors}");
    let last = errors.lines().last().unwrap();
    assert!(last.starts_with("error: ") && last.contains("b.gguf"), "{errors}");

    let mut command = home.command(&["from-config", "-f", "a.toml"]);
    let output = command.env("OSTRO_ALL_MODELS", "ture").output().unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{errors}");
    assert!(errors.contains("OSTRO_ALL_MODELS = \"ture\": must be 1, on"), "{errors}");
}

#[test]
fn port_in_use_is_a_runtime_error() {
    let home = Home::new();
    let model = home.tiny_model();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let ended = home.run(&["serve", "-m", text(&model), "--host", "127.0.0.1", "--port", &port]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.errors.contains(&format!("127.0.0.1:{port}")), "{ended:?}");
}
