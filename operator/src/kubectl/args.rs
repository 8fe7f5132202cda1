//! The plugin's command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use jiff::SignedDuration;

use crate::args::{FileArgs, RenderArgs, image, namespace, object_name, service_name};
use crate::inference_deployment::build::CONTAINER;

/// Plans, watches and tries InferenceDeployments.
#[derive(Debug, Parser)]
#[command(name = "kubectl-ostro", bin_name = "kubectl ostro", version)]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Says what is wrong with a manifest, without a cluster
    Validate(FileArgs),
    /// Prints the objects that the operator makes of a manifest, without a cluster
    Render(RenderArgs),
    /// Turns the daemon's TOML file into a manifest, or a manifest into the TOML file
    Convert(ConvertArgs),
    /// Says what the operator would change in the cluster, and which pods would restart
    Plan(PlanArgs),
    /// Shows objects with their conditions, models and pods
    Status(StatusArgs),
    /// Prints what the daemons of an object's pods say, each line with its pod
    Logs(LogsArgs),
    /// Sends messages to a model, through a port-forward to a ready pod
    Chat(ChatArgs),
}

#[derive(Clone, Debug, Default, Args)]
pub(super) struct ClusterArgs {
    /// The kubeconfig file [default: KUBECONFIG, else ~/.kube/config]
    #[arg(long, value_name = "FILE")]
    pub(super) kubeconfig: Option<PathBuf>,
    /// The kubeconfig's context [default: its current one]
    #[arg(long)]
    pub(super) context: Option<String>,
    /// The namespace [default: that of the context]
    #[arg(short = 'n', long, value_parser = namespace)]
    pub(super) namespace: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct ConvertArgs {
    /// The TOML file or the manifest, or - for standard input
    #[arg(short = 'f', long = "file")]
    pub(super) file: PathBuf,
    /// What to make of it [default: what it is not]
    #[arg(long)]
    pub(super) to: Option<Format>,
    /// Name of the InferenceDeployment [default: that of the file]
    #[arg(long, value_parser = service_name)]
    pub(super) name: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// An InferenceDeployment
    Cr,
    /// The daemon's configuration file
    Toml,
}

#[derive(Debug, Args)]
pub(super) struct PlanArgs {
    #[command(flatten)]
    pub(super) subject: Subject,
    /// The daemon's image where the object names none, as the operator is set to
    /// [default: what the operator took for objects of the namespace]
    #[arg(long, value_parser = image)]
    pub(super) image: Option<String>,
    #[command(flatten)]
    pub(super) cluster: ClusterArgs,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct Subject {
    /// The object as it is in the cluster, under an operator of this version
    #[arg(value_parser = object_name)]
    pub(super) name: Option<String>,
    /// A manifest (.yaml) that would be applied, or - for standard input
    #[arg(short = 'f', long = "file")]
    pub(super) file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// One object [default: all of the namespace]
    #[arg(conflicts_with = "all_namespaces", value_parser = object_name)]
    pub(super) name: Option<String>,
    /// Objects of all namespaces
    #[arg(short = 'A', long)]
    pub(super) all_namespaces: bool,
    /// How to print
    #[arg(short = 'o', long, value_enum, default_value_t = Output::Tree)]
    pub(super) output: Output,
    #[command(flatten)]
    pub(super) cluster: ClusterArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    Tree,
    Json,
}

#[derive(Debug, Args)]
pub(super) struct LogsArgs {
    /// The object
    #[arg(value_parser = object_name)]
    pub(super) name: String,
    /// Go on with what is said from now on, by pods that start later too, until interrupted
    #[arg(short = 'f', long, conflicts_with = "previous")]
    pub(super) follow: bool,
    /// Those of the containers before their last start, as after a crash
    #[arg(short = 'p', long)]
    pub(super) previous: bool,
    /// The last lines of each pod [default: all]
    #[arg(long, value_name = "LINES", value_parser = clap::value_parser!(i64).range(0..))]
    pub(super) tail: Option<i64>,
    /// Not older than this, as in 30s, 5m or 1h30m
    #[arg(long, value_name = "DURATION", value_parser = since)]
    pub(super) since: Option<SignedDuration>,
    /// Each line with its time
    #[arg(long)]
    pub(super) timestamps: bool,
    /// Of another container than the daemon's
    #[arg(short = 'c', long, value_name = "NAME", default_value = CONTAINER, value_parser = object_name)]
    pub(super) container: String,
    #[command(flatten)]
    pub(super) cluster: ClusterArgs,
}

fn since(text: &str) -> Result<SignedDuration, String> {
    match text.parse::<SignedDuration>() {
        Ok(since) if since.is_positive() => Ok(since),
        Ok(_) => Err("must be more than nothing".to_owned()),
        Err(_) => Err("is no duration, as in 30s, 5m or 1h30m".to_owned()),
    }
}

#[derive(Debug, Args)]
pub(super) struct ChatArgs {
    /// The object
    #[arg(value_parser = object_name)]
    pub(super) name: String,
    /// A model of it [default: the object's default model]
    #[arg(long)]
    pub(super) model: Option<String>,
    /// What to ask [default: each line of standard input, in one conversation]
    pub(super) message: Vec<String>,
    #[command(flatten)]
    pub(super) cluster: ClusterArgs,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// They become parts of URLs.
    #[test]
    fn names_that_no_server_has_are_refused_by_argument() {
        let cases: [(&[&str], &str); 9] = [
            (&["status", "a/b"], "[NAME]"),
            (&["status", "--namespace", "x?y=z"], "--namespace <NAMESPACE>"),
            (&["status", "-n", ""], "--namespace <NAMESPACE>"),
            (&["plan", "../x"], "[NAME]"),
            (&["chat", "x#y"], "<NAME>"),
            (&["logs", "x", "-c", "a/b"], "--container <NAME>"),
            (&["logs", "x", "--since", "0s"], "--since <DURATION>"),
            (&["logs", "x", "--tail", "all"], "--tail <LINES>"),
            (&["convert", "-f", "-", "--name", "m.n"], "--name <NAME>"),
        ];
        for (words, argument) in cases {
            let words = [&["kubectl-ostro"], words].concat();
            let error = Arguments::try_parse_from(&words).unwrap_err().to_string();
            assert!(error.contains(&format!("for '{argument}'")), "{words:?}: {error}");
        }
    }
}
