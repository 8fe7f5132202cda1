//! Messages to a model of an object, through a port-forward to one of its ready pods.

mod answer;
mod forward;
mod sse;

use std::io::{BufRead, IsTerminal, Write};

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::Api;
use ostro_crds::{ConditionType, InferenceDeployment};
use serde_json::{Value, json};

use super::args::ChatArgs;
use super::cluster::{Cluster, SILENCE_LIMIT};
use super::pods::serving;
use crate::inference_deployment::daemons::{http_port, is_ready};

/// A line that is longer is no message.
const LINE_BYTES_MAX: u64 = 1 << 20;

pub(super) async fn run(args: &ChatArgs) -> Result<()> {
    // A long prompt's first token may take its time.
    let cluster = Cluster::connect(&args.cluster, None).await?;
    let pod = async { ready_pod(&cluster, &cluster.fetch(&args.name).await?).await };
    let pod = tokio::time::timeout(SILENCE_LIMIT, pod).await.context("the API server does not answer")??;
    let mut chat = Chat { pod, model: args.model.clone(), messages: Vec::new() };
    let pods: Api<Pod> = cluster.api();
    if !args.message.is_empty() {
        return chat.ask(&pods, &args.message.join(" "), &mut std::io::stdout()).await;
    }
    while let Some(line) = read_line()? {
        if !line.trim().is_empty() {
            chat.ask(&pods, &line, &mut std::io::stdout()).await?;
        }
    }
    Ok(())
}

/// A line without its end; `None` after the last one.
fn read_line() -> Result<Option<String>> {
    let input = std::io::stdin();
    if input.is_terminal() {
        eprint!("> ");
    }
    let mut line = String::new();
    let mut input = std::io::Read::take(input.lock(), LINE_BYTES_MAX);
    let count = input.read_line(&mut line).context("cannot read standard input")?;
    if count as u64 == LINE_BYTES_MAX {
        bail!("a line is longer than {LINE_BYTES_MAX} bytes");
    }
    Ok((count > 0).then(|| line.trim_end_matches(['\r', '\n']).to_owned()))
}

/// Where the daemon answers.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Target {
    pod: String,
    port: u16,
}

struct Chat {
    pod: Target,
    model: Option<String>,
    messages: Vec<Value>,
}

impl Chat {
    /// One question and its answer, as it comes.
    async fn ask(&mut self, pods: &Api<Pod>, question: &str, output: &mut impl Write) -> Result<()> {
        self.messages.push(json!({ "role": "user", "content": question }));
        let model = self.model.as_deref().unwrap_or("default");
        let body = json!({ "model": model, "messages": self.messages, "stream": true });
        let answer = forward::exchange(pods, &self.pod, &body, output).await?;
        self.messages.push(json!({ "role": "assistant", "content": answer }));
        Ok(())
    }
}

async fn ready_pod(cluster: &Cluster, object: &InferenceDeployment) -> Result<Target> {
    if let Some(target) = serving(cluster, object).await?.iter().find_map(target) {
        return Ok(target);
    }
    let ready = object.status.as_ref().and_then(|status| status.condition(ConditionType::Ready));
    let why = ready.map(|ready| format!(": {}: {}", ready.reason, ready.message)).unwrap_or_default();
    bail!(
        "no pod of InferenceDeployment {} in namespace {} is ready{why}",
        object.name_any(),
        cluster.namespace
    )
}

/// `None` while it is not ready, or going.
fn target(pod: &Pod) -> Option<Target> {
    if !is_ready(pod) || pod.metadata.deletion_timestamp.is_some() {
        return None;
    }
    Some(Target { pod: pod.name_any(), port: http_port(pod)? })
}

#[cfg(test)]
mod tests;
