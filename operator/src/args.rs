//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Serves models in a Kubernetes cluster.
#[derive(Debug, Parser)]
#[command(name = "ostro-operator", version)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Reconciles the cluster's InferenceDeployments
    Run(RunArgs),
    /// Prints the CustomResourceDefinition
    Crd,
    /// Says what is wrong with a manifest
    Validate(FileArgs),
    /// Prints the objects that the operator makes of a manifest
    Render(RenderArgs),
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Work in this namespace only, with the rights of a Role [default: the whole cluster]
    #[arg(long, env = "OSTRO_WATCH_NAMESPACE")]
    pub(crate) namespace: Option<String>,
    /// The daemon's image, where an object names none
    #[arg(long, env = "OSTRO_IMAGE", default_value = DEFAULT_IMAGE)]
    pub(crate) image: String,
    /// Address of /healthz, /readyz and /metrics
    #[arg(long, env = "OSTRO_LISTEN", default_value = "0.0.0.0:8080")]
    pub(crate) listen: SocketAddr,
    /// Namespace of the lease by which one operator leads
    #[arg(long, env = "POD_NAMESPACE", default_value = "default")]
    pub(crate) lease_namespace: String,
    /// This process in the lease
    #[arg(long, env = "POD_NAME", default_value_t = process_name())]
    pub(crate) identity: String,
}

#[derive(Debug, Args)]
pub(crate) struct FileArgs {
    /// The manifest (.yaml), or - for standard input
    #[arg(short = 'f', long = "file")]
    pub(crate) file: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct RenderArgs {
    #[command(flatten)]
    pub(crate) input: FileArgs,
    /// The daemon's image, where the manifest names none
    #[arg(long, default_value = DEFAULT_IMAGE)]
    pub(crate) image: String,
    /// Where the manifest names no namespace
    #[arg(short = 'n', long, default_value = "default")]
    pub(crate) namespace: String,
}

pub(crate) const DEFAULT_IMAGE: &str = concat!("ghcr.io/ostro-dev/ostro:", env!("CARGO_PKG_VERSION"));

fn process_name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}-{}", host.trim(), std::process::id())
}
