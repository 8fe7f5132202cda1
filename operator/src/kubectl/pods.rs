//! The pods that serve an object: those with its labels that its workload has made, by the operator's own rule. Anybody
//! may give a pod the labels, and would be sent what is meant for the object's.

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use ostro_crds::InferenceDeployment;

use super::cluster::Cluster;
use super::explained::explained;
use crate::inference_deployment::build::{Names, selector_text};
use crate::inference_deployment::cached::{Task, made_for};
use crate::readable::list_readable;

pub(super) async fn serving(cluster: &Cluster, object: &InferenceDeployment) -> Result<Vec<Pod>> {
    let selector = ListParams::default().labels(&selector_text(&Names::of(object).selector()));
    let api: Api<Pod> = cluster.api();
    let pods = list_readable(&cluster.client, api.resource_url(), selector).await;
    let mut pods: Vec<Pod> = pods.map_err(explained).context("cannot list pods")?;
    let name = object.name_any();
    pods.retain(|pod| made_for(&pod.metadata) == Some((name.as_str(), Task::Serve)));
    Ok(pods)
}
