//! The main job in one command: a daemon with a real model, one streamed answer, the URL to use.
//!
//! The daemon is left running; a second call finds it by its address and asks again, also where both came at once.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::{Value, json};

use crate::lock::lock;
use crate::process::{self, Owned};
use crate::{cache, daemon, http, model};

/// Loading takes a second; this is for a machine under heavy load.
const LOAD_LIMIT: Duration = Duration::from_secs(120);
/// Of answers that still run.
const END_LIMIT: Duration = Duration::from_secs(60);

#[derive(Args)]
pub struct Options {
    /// Port to try first on 127.0.0.1; a free one is taken when another program has it.
    #[arg(long, default_value_t = 1234)]
    port: u16,
    /// The question that is asked.
    #[arg(long, default_value = "What is the capital of France?")]
    prompt: String,
    /// Stop the daemon that an earlier call left running.
    #[arg(long)]
    stop: bool,
}

pub fn run(options: &Options) -> Result<()> {
    let alone = lock(&cache::root()?.join("quickstart.lock"))?;
    if options.stop {
        return stop();
    }
    let model = model::ensure_smollm2()?;
    let running = match state()? {
        Some(earlier) => base_of(earlier)?,
        None => None,
    };
    let base = match running {
        Some(base) => base,
        None => start(&model, free_port(options.port)?)?,
    };
    drop(alone);
    let id = daemon::model_id(&base)?;
    println!("> {}", options.prompt);
    ask(&base, &id, &options.prompt)?;
    println!();
    println!("Ostro is serving at {base}/v1 (model {id:?}); give any OpenAI client this base URL.");
    println!("Log: {}. Stop it: ./e2e/quickstart.sh --stop", log_path()?.display());
    Ok(())
}

fn log_path() -> Result<PathBuf> {
    Ok(cache::root()?.join("quickstart.log"))
}

/// Holds `PID PORT` of the daemon that was left running.
fn state_path() -> Result<PathBuf> {
    Ok(cache::root()?.join("quickstart.state"))
}

fn state() -> Result<Option<(u32, u16)>> {
    let Ok(text) = std::fs::read_to_string(state_path()?) else { return Ok(None) };
    let mut words = text.split_whitespace();
    let (Some(pid), Some(port)) = (words.next(), words.next()) else { return Ok(None) };
    let (Ok(pid), Ok(port)) = (pid.parse(), port.parse()) else { return Ok(None) };
    Ok(is_there((pid, port)).then_some((pid, port)))
}

/// A number may have been given to another program since.
fn is_there((pid, port): (u32, u16)) -> bool {
    let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let has = |wanted: &str| command.split(|byte| *byte == 0).any(|word| word == wanted.as_bytes());
    has("serve") && has(&port.to_string())
}

/// The base URL of an earlier call's daemon that answers; one that does not ends, since nobody could find it later.
fn base_of((pid, port): (u32, u16)) -> Result<Option<String>> {
    let base = format!("http://127.0.0.1:{port}");
    if http::get(&format!("{base}/health")).call().is_ok() {
        return Ok(Some(base));
    }
    end(pid)?;
    let start = Instant::now();
    while is_there((pid, port)) {
        anyhow::ensure!(start.elapsed() < END_LIMIT, "process {pid} does not end");
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(None)
}

fn stop() -> Result<()> {
    let Some((pid, _)) = state()? else {
        println!("no daemon of the quick start is running");
        return Ok(());
    };
    end(pid)?;
    std::fs::remove_file(state_path()?)?;
    println!("stopped process {pid}");
    Ok(())
}

fn end(pid: u32) -> Result<()> {
    let status = Command::new("kill").arg(pid.to_string()).status()?;
    anyhow::ensure!(status.success(), "cannot stop process {pid}");
    Ok(())
}

fn free_port(wanted: u16) -> Result<u16> {
    match TcpListener::bind((Ipv4Addr::LOCALHOST, wanted)) {
        Ok(listener) => Ok(listener.local_addr()?.port()),
        Err(_) => process::free_port(),
    }
}

fn start(model: &Path, port: u16) -> Result<String> {
    let daemon = std::env::current_exe()?.with_file_name("ostro");
    let log = File::create(log_path()?)?;
    let child = Command::new(&daemon)
        .args(["serve", "--host", "127.0.0.1", "--port", &port.to_string(), "-m"])
        .arg(model)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0) // lives on when the terminal goes
        .spawn()
        .with_context(|| format!("cannot start {}", daemon.display()))?;
    std::fs::write(state_path()?, format!("{} {port}", child.id()))?;
    let base = format!("http://127.0.0.1:{port}");
    keep_loaded(&base, child)?;
    Ok(base)
}

/// A daemon without its model ends: the next call would find it, and ask it in vain.
fn keep_loaded(base: &str, mut child: Child) -> Result<()> {
    let loaded = await_loaded(base, &mut child);
    if loaded.is_err() {
        drop(Owned::new(child));
    }
    loaded
}

fn await_loaded(base: &str, child: &mut Child) -> Result<()> {
    eprint!("loading the model");
    let start = Instant::now();
    while start.elapsed() < LOAD_LIMIT {
        if let Some(status) = child.try_wait()? {
            bail!("the daemon ended with {status}; its log is {}", log_path()?.display());
        }
        let models = daemon::models(base).unwrap_or_default();
        if models.iter().any(|m| m["status"] == "failed") {
            bail!("the model did not load: {}", json!(models));
        }
        if models.iter().any(|m| m["status"] == "loaded") {
            eprintln!(" done in {:.1} s", start.elapsed().as_secs_f32());
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    bail!("the model did not load within {LOAD_LIMIT:?}")
}

/// Streams one greedy answer to standard output.
fn ask(base: &str, model: &str, prompt: &str) -> Result<()> {
    let request = json!({
        "model": model, "stream": true, "temperature": 0, "max_tokens": 128,
        "messages": [{"role": "user", "content": prompt}],
    });
    let mut response = http::post(&format!("{base}/v1/chat/completions")).send_json(&request)?;
    let mut answered = false;
    for line in BufReader::new(response.body_mut().as_reader()).lines() {
        let line = line?;
        let Some(data) = line.strip_prefix("data: ").filter(|data| *data != "[DONE]") else { continue };
        let chunk: Value = serde_json::from_str(data).with_context(|| format!("not a chunk: {data}"))?;
        if let Some(error) = chunk.get("error") {
            bail!("the daemon answered with an error: {error}");
        }
        if let Some(text) = chunk["choices"][0]["delta"]["content"].as_str() {
            answered |= !text.is_empty();
            print!("{text}");
            std::io::stdout().flush()?;
        }
    }
    println!();
    anyhow::ensure!(answered, "the answer was empty");
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    #[test]
    fn a_daemon_that_does_not_answer_is_stopped() {
        let mut daemon = Command::new("sleep").arg("60").spawn().unwrap();
        assert_eq!(base_of((daemon.id(), process::free_port().unwrap())).unwrap(), None);
        // Ends by the first signal that it gets: SIGTERM.
        assert_eq!(daemon.wait().unwrap().signal(), Some(15));
    }

    /// Answers every request like a daemon whose model failed; it ends with the tests.
    fn serve_failed(listener: TcpListener) {
        for stream in listener.incoming().map_while(Result::ok) {
            let _ = BufReader::new(&stream).lines().map_while(Result::ok).find(String::is_empty);
            let body = r#"{"data": [{"id": "tiny.gguf", "status": "failed", "error": "no memory"}]}"#;
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close", body.len());
            let _ = write!(&stream, "{head}\r\n\r\n{body}");
        }
    }

    #[test]
    fn a_daemon_that_cannot_load_is_not_left_running() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || serve_failed(listener));
        let daemon = Command::new("sleep").arg("60").spawn().unwrap();
        let process = PathBuf::from(format!("/proc/{}", daemon.id()));
        assert!(process.exists());
        let error = keep_loaded(&base, daemon).unwrap_err().to_string();
        assert!(error.contains("no memory"), "{error}");
        assert!(!process.exists());
    }

    #[test]
    fn another_port_is_none_of_those_for_connections() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = free_port(taken.local_addr().unwrap().port()).unwrap();
        assert!(port < 30_000, "{port}");
    }
}
