//! Logs of pods as they come, from every container that begins, until the reader has enough.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, bail};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodStatus};
use kube::ResourceExt;
use kube::api::LogParams;
use ostro_crds::InferenceDeployment;
use tokio::sync::mpsc::Sender;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::stream::{Said, read};
use super::{parameters, pods_of};
use crate::kubectl::args::LogsArgs;
use crate::kubectl::cluster::Cluster;
use crate::terminal;

/// Between looks for new pods.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(2);
/// In a row, before it is given up.
const FAILED_LOOKS_MAX: u32 = 5;

/// A pod's uid, and how often its container was begun before.
type Run = (String, i32);

/// What is known of one of them.
#[derive(Debug)]
enum Read {
    Running,
    /// Its stream ended, as when the API server starts again.
    Ended(Instant),
}

/// All at once, and those that begin later from their first line on.
pub(super) async fn follow(
    cluster: &Cluster,
    (object, args): (&InferenceDeployment, &LogsArgs),
    sender: Sender<Said>,
) -> Result<()> {
    let mut known: BTreeMap<Run, Read> = BTreeMap::new();
    let mut parameters = parameters(args);
    let mut tasks = JoinSet::new();
    let mut failed_looks = 0;
    loop {
        let pods = match pods_of(cluster, object).await {
            Err(error) if failed_looks < FAILED_LOOKS_MAX && !known.is_empty() => {
                failed_looks += 1;
                eprintln!("note: {}; it is tried again", terminal::error(&error));
                Vec::new()
            }
            pods => {
                let pods = pods?;
                failed_looks = 0;
                known.retain(|(uid, _), _| pods.iter().any(|pod| pod.uid().as_ref() == Some(uid)));
                pods
            }
        };
        if !pods.is_empty() && !pods.iter().any(|pod| has(pod, &args.container)) {
            bail!("no pod has a container {}: they have {}", args.container, names(&pods[0]).join(", "));
        }
        for pod in pods {
            let Some((restarts, runs)) = begun(&pod, &args.container) else { continue };
            let run = (pod.uid().unwrap_or_default(), restarts);
            let Some(parameters) = wanted(known.get(&run), runs, &parameters) else { continue };
            known.insert(run.clone(), Read::Running);
            let (api, sender) = (cluster.api(), sender.clone());
            tasks.spawn(async move {
                let ended = read(&api, (&pod, &parameters), &sender).await;
                (run, ended.map_err(|error| format!("{}: {}", pod.name_any(), terminal::error(&error))))
            });
        }
        while let Some(ended) = tasks.try_join_next() {
            let Ok((run, ended)) = ended else { continue };
            if let Err(why) = ended {
                eprintln!("note: {}", terminal::lines(&why));
            }
            known.insert(run, Read::Ended(Instant::now()));
        }
        // What was said before concerns those that were there.
        (parameters.tail_lines, parameters.since_seconds) = (None, None);
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// How to read a container; not at all where that is done, or goes on.
fn wanted(known: Option<&Read>, runs: bool, parameters: &LogParams) -> Option<LogParams> {
    match known {
        None => Some(parameters.clone()),
        // It says more: what it has said since, and a second that may come twice.
        Some(Read::Ended(at)) if runs => {
            let since = i64::try_from(at.elapsed().as_secs()).ok()? + 1;
            Some(LogParams { since_seconds: Some(since), tail_lines: None, ..parameters.clone() })
        }
        Some(_) => None,
    }
}

fn has(pod: &Pod, container: &str) -> bool {
    pod.spec.is_none() || names(pod).contains(&container)
}

fn names(pod: &Pod) -> Vec<&str> {
    let Some(spec) = &pod.spec else { return Vec::new() };
    let ephemeral = spec.ephemeral_containers.iter().flatten().map(|container| container.name.as_str());
    let init = spec.init_containers.iter().flatten().chain(&spec.containers);
    init.map(|container| container.name.as_str()).chain(ephemeral).collect()
}

/// How often a container was begun again, and whether it runs now; none before it has said anything.
fn begun(pod: &Pod, container: &str) -> Option<(i32, bool)> {
    let statuses = pod.status.iter().flat_map(|status| {
        let PodStatus { container_statuses, init_container_statuses, ephemeral_container_statuses, .. } =
            status;
        let all = [container_statuses, init_container_statuses, ephemeral_container_statuses];
        all.into_iter().flatten().flatten()
    });
    let of = |status: &ContainerStatus| {
        let state = status.state.clone().unwrap_or_default();
        let last = status.last_state.clone().unwrap_or_default();
        let is_begun = state.running.is_some() || state.terminated.is_some() || last.terminated.is_some();
        is_begun.then_some((status.restart_count, state.running.is_some()))
    };
    statuses.filter(|status| status.name == container).find_map(of)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn containers_of_each_kind_are_seen_to_run() {
        for kind in ["containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"] {
            let status = |name: &str, state: &str| {
                json!({
                    "name": name, "image": "", "imageID": "", "ready": false, "restartCount": 0,
                    "state": { state: {} },
                })
            };
            let statuses = json!([status("a", "running"), status("b", "waiting")]);
            let pod: Pod = serde_json::from_value(json!({ "status": { kind: statuses } })).unwrap();
            assert_eq!((begun(&pod, "a"), begun(&pod, "b")), (Some((0, true)), None), "{kind}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_ended_goes_on_while_its_container_runs() {
        let given = LogParams { tail_lines: Some(3), timestamps: true, ..LogParams::default() };
        assert_eq!(wanted(None, true, &given).unwrap().tail_lines, Some(3));
        assert!(wanted(Some(&Read::Running), true, &given).is_none());
        let ended = Read::Ended(Instant::now());
        tokio::time::sleep(Duration::from_secs(7)).await;
        assert!(wanted(Some(&ended), false, &given).is_none());
        let again = wanted(Some(&ended), true, &given).unwrap();
        assert_eq!((again.since_seconds, again.tail_lines, again.timestamps), (Some(8), None, true));
    }
}
