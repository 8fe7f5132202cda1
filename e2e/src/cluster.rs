//! `ostro-e2e cluster`: a real Kubernetes on this machine, from package registries alone.
//!
//! Two shapes: a control plane whose nodes and pods KWOK simulates (plain processes on loopback, no root, seconds),
//! or one with nodes that run containers (namespaces, containerd, kubelet; needs root). Everything lies in the user's
//! cache folder; the machine's network and files stay as they were, and `down` leaves nothing behind.
//!
//! | step | where |
//! |---|---|
//! | build the programs | `modules`, `build`, `images` |
//! | say who is who | `certificates`, `kubeconfig` |
//! | start | `up`: `control_plane`, `node` (`node.sh`, `node_files`), by `launch` in a `place` |
//! | remember | `state` |
//! | end | `down` |
//! | for a while, for a benchmark | `simulated` |
//! | another cluster in its place | `given` |

mod build;
mod certificates;
mod cgroups;
mod control_plane;
mod down;
mod folders;
mod given;
mod images;
mod kubeconfig;
mod launch;
mod load;
mod modules;
mod network;
mod node;
mod node_files;
mod place;
mod progress;
mod requirements;
mod simulated;
mod state;
mod status;
mod up;

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};

pub use folders::Name;
pub use simulated::Simulated;

use folders::Folders;
use modules::{CONTROL_PLANE, MONITORING, NODES, PULLING, SIGNING};
pub use network::REGISTRY;
use place::{MARK, Place};
use requirements::Missing;
use state::{Shape, State};

/// A node's addresses are made of its number; its programs take about 150 MiB.
const NODES_MAX: u8 = 9;

#[derive(Args, Debug)]
pub struct Options {
    /// Clusters of different names do not know of each other.
    #[arg(long, default_value = "e2e", global = true)]
    name: Name,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Start a cluster (building what is missing) and wait until it takes work; prints its KUBECONFIG.
    Up(Up),
    /// End the cluster and remove all that it made, also after a crash.
    Down,
    /// Tell what runs; fails when no cluster is up or a program of it has ended.
    Status,
    /// Run a command in the cluster's network, with KUBECONFIG set and the cluster's programs first on PATH. It ends with the
    /// cluster.
    Exec {
        #[arg(required = true, last = true, value_name = "CMD")]
        command: Vec<OsString>,
    },
    /// Build the programs and images only; does nothing when they are there.
    Build {
        /// Install Debian packages that are missing.
        #[arg(long)]
        install: bool,
    },
    /// Import image archives on every node.
    Load {
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
}

#[derive(Args, Debug)]
struct Up {
    /// Nodes that run pods.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=i64::from(NODES_MAX)))]
    nodes: u8,
    /// Simulate the nodes and their pods: no root, no containers.
    #[arg(long)]
    control_plane_only: bool,
    /// Install Debian packages that are missing.
    #[arg(long)]
    install: bool,
    /// Use another cluster in its place, which `down` leaves alone.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["nodes", "control_plane_only", "install"])]
    kubeconfig: Option<PathBuf>,
}

/// # Errors
/// Each tells what to do: which packages or rights are missing, which program failed and where its log is.
pub fn run(options: &Options) -> Result<()> {
    let folders = Folders::new(&options.name)?;
    match &options.command {
        Command::Up(options) => {
            match &options.kubeconfig {
                Some(file) => given::up(&folders, file)?,
                None => up::up(&folders, shape_of(options), missing_of(options.install))?,
            }
            println!("{}", folders.kubeconfig().display());
            Ok(())
        }
        Command::Down => down::down(&folders),
        Command::Status => status::status(&folders, &mut std::io::stdout()),
        Command::Exec { command } => exec(&folders, command),
        Command::Build { install } => build(&folders, missing_of(*install)),
        Command::Load { files } => load::load(&folders, files),
    }
}

/// Whether `up --control-plane-only` has all its programs, which take minutes to build.
pub fn is_control_plane_built() -> Result<bool> {
    Ok(build::is_built(&any_folders()?, &CONTROL_PLANE))
}

/// Whether `up` has all its programs.
pub fn is_built() -> Result<bool> {
    Ok(is_control_plane_built()? && build::is_built(&any_folders()?, &NODES))
}

/// Whether the Prometheus operator, Prometheus and promtool are built.
pub fn is_monitoring_built() -> Result<bool> {
    Ok(build::is_built(&any_folders()?, &MONITORING))
}

/// Helm, once `cluster build` has built it.
pub fn helm() -> Result<Option<PathBuf>> {
    let program = build::program(&any_folders()?, &modules::HELM, "helm");
    Ok(program.is_file().then_some(program))
}

/// The folder of `crane` and `cosign`, which are built where they are not there.
///
/// # Errors
/// Go is missing, or the build fails.
pub fn ensure_signing() -> Result<PathBuf> {
    let folders = any_folders()?;
    build::ensure(&folders, &SIGNING)?;
    Ok(folders.bin())
}

/// Whether `ensure_signing` has nothing to build.
pub fn is_signing_built() -> Result<bool> {
    Ok(build::is_built(&any_folders()?, &SIGNING))
}

/// Whether a cluster has `crane`, `cosign` and a `registry`.
pub fn is_pulling_built() -> Result<bool> {
    Ok(build::is_built(&any_folders()?, &PULLING))
}

/// What this machine lacks for nodes beside programs; `None`: nothing.
pub fn lacks_for_nodes() -> Option<String> {
    requirements::check(Shape::Nodes { nodes: 1 }, Missing::Tell).err().map(|error| error.to_string())
}

/// Programs are shared by all clusters.
fn any_folders() -> Result<Folders> {
    Folders::new(&"e2e".parse().map_err(anyhow::Error::msg)?)
}

fn shape_of(options: &Up) -> Shape {
    let nodes = options.nodes;
    if options.control_plane_only { Shape::ControlPlane { nodes } } else { Shape::Nodes { nodes } }
}

fn missing_of(install: bool) -> Missing {
    if install { Missing::Install } else { Missing::Tell }
}

fn build(folders: &Folders, missing: Missing) -> Result<()> {
    up::check_path(folders)?;
    requirements::check_build(missing)?;
    build::ensure(folders, &CONTROL_PLANE)?;
    build::ensure(folders, &NODES)?;
    build::ensure(folders, &MONITORING)?;
    build::ensure(folders, &PULLING)?;
    images::ensure(folders)?;
    println!("{}", folders.bin().display());
    Ok(())
}

/// Becomes the command, so that its signals, terminal and exit status are its own. By its mark `down` finds it.
fn exec(folders: &Folders, command: &[OsString]) -> Result<()> {
    let Some(state) = State::load(&folders.state())? else { bail!("no cluster is up") };
    let (program, arguments) = command.split_first().context("a command is required")?;
    let mut command = Place::new(folders, state.shape).command(program)?;
    let error = command.args(arguments).env(MARK, &folders.run).exec();
    Err(error).with_context(|| format!("cannot run {}", program.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser, Debug)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    fn parse(words: &[&str]) -> Result<Options, clap::Error> {
        Line::try_parse_from([&["cluster"], words].concat()).map(|line| line.options)
    }

    #[test]
    fn shapes_come_from_flags() {
        for (words, expected) in [
            (&["up"][..], Shape::Nodes { nodes: 1 }),
            (&["up", "--nodes", "2"], Shape::Nodes { nodes: 2 }),
            (&["up", "--control-plane-only"], Shape::ControlPlane { nodes: 1 }),
            (&["up", "--nodes", "3", "--control-plane-only"], Shape::ControlPlane { nodes: 3 }),
        ] {
            let Command::Up(up) = parse(words).unwrap().command else { panic!("{words:?}") };
            assert_eq!(shape_of(&up), expected, "{words:?}");
        }
        for bad in
            [&["up", "--nodes", "0"][..], &["up", "--nodes", "10"], &["load"], &["exec"], &["exec", "ls"]]
        {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn nothing_is_built_that_up_refuses() {
        let mut folders = any_folders().unwrap();
        folders.root = PathBuf::from("/a b");
        assert!(build(&folders, Missing::Tell).unwrap_err().to_string().contains("XDG_CACHE_HOME"));
    }

    #[test]
    fn a_command_keeps_its_own_flags() {
        let Command::Exec { command } = parse(&["exec", "--", "kubectl", "get", "--help"]).unwrap().command
        else {
            panic!("not exec")
        };
        assert_eq!(command, ["kubectl", "get", "--help"]);
    }

    #[test]
    fn a_name_stands_before_or_after() {
        for words in [["--name", "two", "down"], ["down", "--name", "two"]] {
            assert_eq!(parse(&words).unwrap().name.to_string(), "two");
        }
        assert_eq!(parse(&["down"]).unwrap().name.to_string(), "e2e");
        assert!(parse(&["--name", "../x", "down"]).is_err());
    }
}
