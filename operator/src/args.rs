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
    #[arg(long, env = "OSTRO_WATCH_NAMESPACE", value_parser = namespace)]
    pub(crate) namespace: Option<String>,
    /// The daemon's image, where an object names none
    #[arg(long, env = "OSTRO_IMAGE", default_value = DEFAULT_IMAGE)]
    pub(crate) image: String,
    /// Address of /healthz, /readyz and /metrics
    #[arg(long, env = "OSTRO_LISTEN", default_value = "0.0.0.0:8080")]
    pub(crate) listen: SocketAddr,
    /// Namespace of the lease by which one operator leads
    #[arg(long, env = "POD_NAMESPACE", default_value = "default", value_parser = namespace)]
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
    #[arg(short = 'n', long, default_value = "default", value_parser = namespace)]
    pub(crate) namespace: String,
}

pub(crate) const DEFAULT_IMAGE: &str = concat!("ghcr.io/ostro-dev/ostro:", env!("CARGO_PKG_VERSION"));

/// A name that the API server gives a namespace: a label of RFC 1123.
fn namespace(name: &str) -> Result<String, &'static str> {
    let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let is_label = name.bytes().all(is_inner) && !name.starts_with('-') && !name.ends_with('-');
    if is_label && (1..=63).contains(&name.len()) {
        Ok(name.to_owned())
    } else {
        Err("a namespace has 1 to 63 small letters, digits and inner hyphens")
    }
}

fn process_name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}-{}", host.trim(), std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_that_no_server_has_is_refused_at_start() {
        let longest = "a".repeat(63);
        for name in ["default", "a", "team-1", "0", &longest] {
            assert_eq!(namespace(name), Ok(name.to_owned()));
        }
        for name in ["", "Bad NS", "a.b", "-a", "a-", "a/b", "ä", &"a".repeat(64)] {
            let run = Arguments::try_parse_from(["ostro-operator", "run", &format!("--namespace={name}")]);
            let error = run.unwrap_err().to_string();
            assert!(error.contains("a namespace has 1 to 63"), "{name}: {error}");
        }
    }
}
