//! Load on a server that speaks the OpenAI protocol, and what its clients see.
//!
//! Streams chat completions of unique prompts over one thread, so that little of a shared machine is the client's.
//! Proxies of the environment are not used: what is measured is the server.

mod client;
mod drive;
mod prompts;
mod report;
mod sse;

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, anyhow};
use clap::ArgMatches;
use tokio::time::Instant;

use super::{number, numbers_above_zero, print_report};
use crate::failure::Failure;
use client::{Client, Request};
use drive::{Load, Setup};
use prompts::Prompts;
use report::{Report, RunReport};

/// What the command line asks to measure.
struct Options {
    model: Option<String>,
    prompt_lens: Vec<u32>,
    gen_len: u32,
    loads: Vec<Load>,
    requests: Option<u32>,
    warmup: u32,
    seed: u64,
}

pub(super) fn run(url: &str, matches: &ArgMatches) -> Result<(), Failure> {
    let base = client::base(url).map_err(|reason| Failure::Usage(format!("--url {url}: {reason}")))?;
    let options = Options::read(matches)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let report = runtime.context("cannot start")?.block_on(measure(base, &options))?;
    print_report(&report, matches, report::table)?;
    match report.runs.iter().any(|run| run.succeeded > 0) {
        true => Ok(()),
        false => Err(Failure::Runtime(anyhow!("every request failed: {}", report.errors()))),
    }
}

impl Options {
    fn read(matches: &ArgMatches) -> Result<Options, Failure> {
        let rate = matches.get_one::<f64>("rate");
        let options = Options {
            model: matches.get_one::<String>("model").cloned(),
            prompt_lens: numbers_above_zero(matches, "prompt-len"),
            gen_len: number(matches, "gen-len"),
            loads: match rate {
                Some(rate) => vec![Load::Open { rate: *rate }],
                None => super::numbers(matches, "concurrency").into_iter().map(Load::closed).collect(),
            },
            requests: matches.get_one::<u32>("requests").copied(),
            warmup: number(matches, "warmup"),
            seed: matches.get_one::<u64>("seed").copied().unwrap_or_else(seed_of_now),
        };
        options.refuse_nothing()?;
        options.refuse_idle_clients()?;
        Ok(options)
    }

    /// What measures nothing.
    fn refuse_nothing(&self) -> Result<(), Failure> {
        let refuse = |flag: &str, value| {
            Err(Failure::Usage(format!("--{flag} {value}: must be 1 or more to measure a server")))
        };
        if self.prompt_lens.is_empty() {
            return refuse("prompt-len", 0);
        }
        if self.gen_len == 0 {
            return refuse("gen-len", 0);
        }
        if self.loads.contains(&Load::closed(0)) {
            return refuse("concurrency", 0);
        }
        Ok(())
    }

    /// More clients than requests would be told as so many at once.
    fn refuse_idle_clients(&self) -> Result<(), Failure> {
        let Some(requests) = self.requests else { return Ok(()) };
        let idle = |load: &Load| matches!(load, Load::Closed { clients } if *clients > requests);
        match self.loads.iter().find(|load| idle(load)) {
            Some(Load::Closed { clients }) => Err(Failure::Usage(format!(
                "--requests {requests}: must be at least --concurrency, of which one is {clients}"
            ))),
            _ => Ok(()),
        }
    }
}

/// Milliseconds, which JSON's readers keep exactly.
fn seed_of_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_millis() as u64)
}

async fn measure(base: String, options: &Options) -> anyhow::Result<Report> {
    let context = || format!("cannot measure {base}");
    let mut client = Client::new(base.clone()).with_context(context)?;
    match &options.model {
        Some(model) => client.model = model.clone(),
        None => client.model = client.first_model().await.with_context(context)?,
    }
    let mut prompts = Prompts::new(options.seed);
    client.learn(&mut prompts).await.with_context(context)?;
    let model = client.model.clone();
    let mut setup = Setup { client, prompts, gen_len: options.gen_len, seed: options.seed };
    let mut runs = Vec::new();
    for &prompt_len in &options.prompt_lens {
        for _ in 0..options.warmup {
            let prompt = setup.prompts.unique(prompt_len);
            // A failure shows again in what is counted.
            let request = Request { prompt, max_tokens: options.gen_len };
            let _ = setup.client.send(request, Instant::now()).await;
        }
        for &load in &options.loads {
            let requests = options.requests.unwrap_or(load.requests_default());
            let outcome = drive::drive(&mut setup, load, prompt_len, requests).await;
            runs.push(RunReport::new(load, prompt_len, outcome));
        }
    }
    let ignores_eos = setup.client.ignores_eos();
    Ok(Report { url: base, model, gen_len: options.gen_len, seed: options.seed, ignores_eos, runs })
}
