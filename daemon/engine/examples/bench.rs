//! Measures a model in process: `cargo run --release -p ostro-engine --example bench -- MODEL [THREADS]`.

use std::env;

use anyhow::{Context, Result};
use ostro_engine::bench::{BenchOptions, bench};
use ostro_engine::{CacheSize, Engine, EngineOptions};

fn main() -> Result<()> {
    let mut arguments = env::args().skip(1);
    let mut options = EngineOptions::new(arguments.next().context("name a model")?);
    options.threads = arguments.next().map(|threads| threads.parse()).transpose()?;
    options.cache.size = CacheSize::ContextLen(16 * 1024);
    let engine = Engine::load(options, &|_| ())?;
    let info = engine.info();
    println!("loaded in {:.2} s, {} threads, {}", info.load_seconds, info.threads, info.instruction_set);
    let report = bench(&engine, &BenchOptions::default(), &mut |result| println!("{result:?}"))?;
    println!("{}", serde_json::to_string(&report)?);
    Ok(())
}
