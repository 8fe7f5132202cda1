//! A server on a free port: how long it takes to be ready, how much memory it holds, what its clients see.
//!
//! The client is `ostro bench --url` for every program.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::edits;
use super::huge_pages::Pages;
use super::program::output_of;
use super::rows::Visit;
use super::samples::Sample;
use crate::process::{self, Owned};
use crate::{daemon, http};

const READY_LIMIT: Duration = Duration::from_secs(120);
const PROMPT_TOKENS: &str = "218";
const ANSWER_TOKENS: &str = "64";

/// Tokens of all sequences that every server has room for.
pub(super) const CONTEXT_TOKENS: &str = "16384";
pub(super) const SEQUENCES: &str = "16";

/// How a server tells that its model answers.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ready {
    /// `GET /health` is 200.
    Healthy,
    /// `GET /v1/models` lists one as loaded.
    Loaded,
}

pub(super) struct Served {
    pub(super) samples: Vec<Sample>,
    /// After the last answer, when it holds most.
    pub(super) pages: Option<Pages>,
}

struct Server {
    process: Owned,
    base: String,
}

/// Starts `command` with `--port` of its own and measures all rows of serving.
pub(super) fn serve(command: Command, ready: Ready, client: &Path) -> Result<Served> {
    let start = Instant::now();
    let server = Server::start(command, ready)?;
    let load_ms = start.elapsed().as_secs_f64() * 1e3;

    // The eight chats come first: memory that later ones leave behind is not theirs.
    let load = Load { client: client.to_owned(), base: server.base.clone() };
    let (chats, resident_bytes) = server.while_watched(|| load.run(1, 8, 16))?;
    chats?;
    let alone = load.run(2, 1, 8)?;
    let crowd = load.run(3, 16, 32)?;
    let pages = Pages::read(server.process.id());
    let sample = |id, value| Sample { id, setting: "", value };
    let samples = vec![
        sample("load", load_ms),
        sample("rss", resident_bytes as f64 / f64::from(1 << 20)),
        sample("http-1-ttft", alone.first_token_ms),
        sample("http-1-tpot", alone.token_ms),
        sample("http-16", crowd.tokens_per_second),
        sample("http-16-ttft", crowd.first_token_ms),
    ];
    Ok(Served { samples, pages })
}

/// Starts `command` with `--port` of its own and measures edits of code, the second time that they are asked for.
pub(super) fn edits(command: Command, ready: Ready, visit: Visit) -> Result<Vec<Sample>> {
    let server = Server::start(command, ready)?;
    edits::token_ms(&server.base)?;
    Ok(vec![Sample { id: visit.id(), setting: "", value: edits::token_ms(&server.base)? }])
}

struct Load {
    client: PathBuf,
    base: String,
}

#[derive(Debug, PartialEq)]
struct Seen {
    tokens_per_second: f64,
    first_token_ms: f64,
    token_ms: f64,
}

impl Load {
    /// Each load of a server has a seed of its own: prompts that came before would be in the cache of some.
    fn run(&self, seed: u32, clients: u32, requests: u32) -> Result<Seen> {
        let mut command = Command::new(&self.client);
        command.args(["bench", "--json", "--url", &self.base, "--prompt-len", PROMPT_TOKENS]);
        command.args(["--gen-len", ANSWER_TOKENS, "--concurrency", &clients.to_string()]);
        command.args(["--requests", &requests.to_string(), "--seed", &seed.to_string()]);
        parse(&output_of(&mut command)?.output)
    }
}

/// The only run of a report of `ostro bench --url --json`, where no request failed.
fn parse(json: &str) -> Result<Seen> {
    let report: Value = serde_json::from_str(json).context("the report of ostro bench --url")?;
    let run = &report["runs"][0];
    ensure!(
        run["succeeded"].is_u64() && run["succeeded"] == run["requests"],
        "{} of {} requests were answered: {}",
        run["succeeded"],
        run["requests"],
        run["errors"]
    );
    let number = |value: &Value| value.as_f64().context("a number is missing in the report");
    // Of the chat template some always are.
    let cached = run["cached_tokens"].as_f64().unwrap_or_default();
    let prompt = number(&run["prompt_tokens"])?;
    ensure!(cached <= prompt / 3.0, "{cached:.0} of {prompt:.0} prompt tokens were in the server's cache");
    Ok(Seen {
        tokens_per_second: number(&run["output_tokens_per_second"])?,
        first_token_ms: number(&run["ttft_seconds"]["p50"])? * 1e3,
        token_ms: number(&run["tpot_seconds"]["p50"])? * 1e3,
    })
}

impl Server {
    fn start(mut command: Command, ready: Ready) -> Result<Server> {
        let port = process::free_port()?;
        command.args(["--host", "127.0.0.1", "--port", &port.to_string()]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = command.spawn().with_context(|| format!("cannot start {:?}", command.get_program()))?;
        let mut server = Server { process: Owned::new(process), base: format!("http://127.0.0.1:{port}") };
        server.await_ready(ready).with_context(|| format!("{command:?}"))?;
        Ok(server)
    }

    fn await_ready(&mut self, ready: Ready) -> Result<()> {
        let start = Instant::now();
        while start.elapsed() < READY_LIMIT {
            if let Some(status) = self.process.try_wait()? {
                bail!("the server ended with {status}");
            }
            if self.is_ready(ready) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(4));
        }
        bail!("the server was not ready within {READY_LIMIT:?}")
    }

    fn is_ready(&self, ready: Ready) -> bool {
        match ready {
            Ready::Healthy => http::get(&format!("{}/health", self.base)).call().is_ok(),
            Ready::Loaded => {
                let models = daemon::models(&self.base).unwrap_or_default();
                models.first().is_some_and(|model| model["status"] == "loaded")
            }
        }
    }

    /// Runs `body` and returns the most memory that was resident meanwhile.
    fn while_watched<T: Send>(&self, body: impl FnOnce() -> T + Send) -> Result<(T, u64)> {
        let (most, ended) = (AtomicU64::new(0), AtomicBool::new(false));
        let result = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !ended.load(Ordering::Relaxed) {
                    most.fetch_max(self.resident_bytes().unwrap_or_default(), Ordering::Relaxed);
                    std::thread::sleep(Duration::from_millis(25));
                }
            });
            let result = body();
            ended.store(true, Ordering::Relaxed);
            result
        });
        Ok((result, most.into_inner().max(self.resident_bytes()?)))
    }

    fn resident_bytes(&self) -> Result<u64> {
        process::resident_bytes(self.process.id())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clients_saw_is_read() {
        let report = include_str!("fixtures/ostro_bench_url.json");
        let expected = Seen { tokens_per_second: 321.5, first_token_ms: 52.5, token_ms: 2.25 };
        assert_eq!(parse(report).unwrap(), expected);
        let lossy = report.replace(r#""succeeded": 8"#, r#""succeeded": 7"#);
        let error = parse(&lossy).unwrap_err().to_string();
        assert!(error.contains("7 of 8"), "{error}");
        assert!(parse("{}").is_err());
        let cached = report.replace(r#""cached_tokens": 30.0"#, r#""cached_tokens": 192.0"#);
        let error = parse(&cached).unwrap_err().to_string();
        assert_eq!(error, "192 of 218 prompt tokens were in the server's cache");
    }
}
