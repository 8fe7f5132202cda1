//! What the daemons of an object say: the logs of all its pods in one stream, each line with its pod. Pods that come or
//! start again while it follows join in.

mod follow;
mod stream;

use std::io::{self, IsTerminal, Write};

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::LogParams;
use ostro_crds::{ConditionType, InferenceDeployment};
use tokio::sync::mpsc::{Sender, channel};

use super::args::LogsArgs;
use super::cluster::{Cluster, SILENCE_LIMIT};
use super::pods::serving;
use crate::terminal;
use follow::follow;
use stream::{Said, read};

/// Lines that wait to be printed.
const LINES_MAX: usize = 256;

pub(super) async fn run(args: &LogsArgs) -> Result<()> {
    let cluster = Cluster::connect(&args.cluster, None).await?;
    let found = tokio::time::timeout(SILENCE_LIMIT, cluster.fetch(&args.name)).await;
    let object = found.context("the API server does not answer")??;
    let output = io::stdout();
    let is_terminal = output.is_terminal();
    print(&cluster, (&object, args), &mut |said| write(&mut output.lock(), said, is_terminal)).await
}

/// Until there is no more of them, or for ever.
async fn print(
    cluster: &Cluster,
    (object, args): (&InferenceDeployment, &LogsArgs),
    write: &mut impl FnMut(&Said) -> Result<()>,
) -> Result<()> {
    let (sender, mut lines) = channel(LINES_MAX);
    let reading = async move {
        if args.follow {
            follow(cluster, (object, args), sender).await
        } else {
            once(cluster, (object, args), sender).await
        }
    };
    let writing = async {
        while let Some(said) = lines.recv().await {
            write(&said)?;
        }
        Ok(())
    };
    tokio::try_join!(reading, writing).map(drop)
}

/// Pod by pod.
async fn once(
    cluster: &Cluster,
    (object, args): (&InferenceDeployment, &LogsArgs),
    sender: Sender<Said>,
) -> Result<()> {
    let pods = pods_of(cluster, object).await?;
    if pods.is_empty() {
        let (name, space) = (object.name_any(), &cluster.namespace);
        let ready = object.status.as_ref().and_then(|status| status.condition(ConditionType::Ready));
        let why = ready.map(|ready| format!(": {}: {}", ready.reason, ready.message)).unwrap_or_default();
        bail!("InferenceDeployment {name} in namespace {space} has no pods{why}");
    }
    let mut failed = Vec::new();
    for pod in &pods {
        if let Err(error) = read(&cluster.api(), (pod, &parameters(args)), &sender).await {
            failed.push(format!("{}: {}", pod.name_any(), terminal::error(&error)));
        }
    }
    if failed.len() == pods.len() {
        bail!("no pod has logs: {}", failed.join("; "));
    }
    for pod in failed {
        eprintln!("note: {}", terminal::lines(&pod));
    }
    Ok(())
}

async fn pods_of(cluster: &Cluster, object: &InferenceDeployment) -> Result<Vec<Pod>> {
    let listed = tokio::time::timeout(SILENCE_LIMIT, serving(cluster, object)).await;
    let mut pods = listed.context("the API server does not answer")??;
    pods.sort_by_key(|pod| (pod.metadata.creation_timestamp.clone().map(|time| time.0), pod.name_any()));
    Ok(pods)
}

fn parameters(args: &LogsArgs) -> LogParams {
    LogParams {
        container: Some(args.container.clone()),
        follow: args.follow,
        previous: args.previous,
        since_seconds: args.since.map(|since| since.as_secs().max(1)),
        tail_lines: args.tail,
        timestamps: args.timestamps,
        ..LogParams::default()
    }
}

/// On a terminal nothing but text; elsewhere the bytes as they are.
fn write(output: &mut impl Write, said: &Said, is_terminal: bool) -> Result<()> {
    let Said { pod, line } = said;
    let written = if is_terminal {
        writeln!(output, "{pod} {}", terminal::line(&String::from_utf8_lossy(line)))
    } else {
        output.write_all(&[pod.as_bytes(), b" ", line, b"\n"].concat())
    };
    match written {
        // As after `| head`: nobody reads on.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        written => written.context("cannot write to standard output"),
    }
}

#[cfg(test)]
mod tests;
