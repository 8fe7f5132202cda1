//! `ostro-e2e bench operator`: the operator with many objects, on a real control plane whose nodes and pods are
//! simulated. Nothing of the cluster is left behind, by Ctrl-C neither.

mod api;
mod latency;
mod objects;
mod observer;
mod process;
mod report;
mod stages;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::Value;

use super::machine::Machine;
use super::program::output_of;
use super::{first_line, is_release, page};
use crate::cluster::Simulated;
use crate::process::git_describe;
use api::Api;
use stages::Bench;

/// Of the cluster.
const NAME: &str = "bench-operator";
/// Of a thousand simulated pods each; a change doubles pods for a moment.
const NODES: u8 = 9;
const OBJECTS_MAX: i64 = 4000;

#[derive(Args)]
pub struct Options {
    /// InferenceDeployments to make.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(2..=OBJECTS_MAX))]
    objects: u32,
    /// The page to write.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/benchmarks-operator.md"))]
    page: PathBuf,
    /// Print only.
    #[arg(long, conflicts_with = "page")]
    no_page: bool,
}

/// # Errors
/// The programs are no release build, the cluster does not come up, or a stage does not come to its end.
pub fn run(options: &Options) -> Result<()> {
    let program = process::program()?;
    ensure!(is_release(&program), "{} is not a release build: cargo build --release", program.display());
    page::check_folder(&options.page)?;
    let machine = Machine::read()?;
    eprintln!("{}", machine.describe());
    let cluster = Simulated::up(&NAME.parse().map_err(anyhow::Error::msg)?, NODES)?;
    let api = Api::start(&cluster)?;
    install(&cluster, &api, &program)?;
    let bench = Bench { cluster: &cluster, api: &api, program: &program, objects: options.objects as usize };
    let measured = bench.measure()?;
    let table = report::table(&report::rows(&measured));
    println!("{table}");
    if options.no_page {
        return Ok(());
    }
    let about = about(&machine, &api, options.objects)?;
    std::fs::write(&options.page, format!("{HEAD}\n{about}\n{table}"))
        .with_context(|| format!("cannot write {}", options.page.display()))?;
    println!("written to {}", options.page.display());
    Ok(())
}

/// The CustomResourceDefinition, and waits until its objects can be listed.
fn install(cluster: &Simulated, api: &Api, program: &Path) -> Result<()> {
    cluster.apply(&output_of(Command::new(program).arg("crd"))?.output)?;
    let start = std::time::Instant::now();
    while let Err(error) = api.text(observer::OBJECTS) {
        ensure!(start.elapsed() < Duration::from_secs(30), "the API does not appear: {error:#}");
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

const HEAD: &str = "# Benchmarks of the operator

<!-- Written by `ostro-e2e bench operator`; do not edit. -->

One operator with many objects on a real control plane (etcd, API server, controllers, scheduler) on the same machine;
nodes and pods are simulated. Each object has a ServiceAccount, a ControllerRevision, a ConfigMap, a Service, a
Deployment and one pod. Times until all are Ready are mostly the control plane's.

- Memory an object is resident memory of the process beyond what it has with one object Ready, over the objects after
  it: pages of its own program that it touches at its first work come once, and stand in a row of their own.
- An event is the moment at which a watch shows an object's change; a write, that at which a watch shows the
  Deployment's. The operator gathers changes of an object for 25 ms, which is in there.
- Writes of anybody are what the API server counts in whole, leases aside: the operator's, the controllers', the
  scheduler's.
- After a restart every object is reconciled with nothing to do; the processor time is all that the process took since
  its start, reading everything included.
- No daemon runs in a simulated pod. The operator asks each pod's address all the same, and how that ends is up to the
  machine's network: refused at once, which costs a connection; or silence, for which a reconcile waits 1 s, and 100 ms
  once 16 were silent in a row. A row says how many timed out. Reading an answer is in no number here.

Run it: `cargo build --release -p ostro-operator -p ostro-e2e && target/release/ostro-e2e bench operator` (the cluster's
programs are built at the first time, which takes 10 minutes).
";

fn about(machine: &Machine, api: &Api, objects: u32) -> Result<String> {
    let date = first_line(Command::new("date").args(["-u", "+%F"]))?;
    let revision = first_line(&mut git_describe());
    let version: Value = serde_json::from_str(&api.text("/version")?).context("the API server's version")?;
    Ok(format!(
        "{date}. Machine: {}. Ostro {}, Kubernetes {}. Command: `ostro-e2e bench operator --objects {objects}`: {} \
         changes, one every {} ms.\n",
        machine.describe(),
        revision.unwrap_or_else(|_| "of an unknown revision".to_owned()),
        version["gitVersion"].as_str().unwrap_or("of an unknown version"),
        latency::CHANGES.min(objects as usize),
        latency::EVERY.as_millis(),
    ))
}
