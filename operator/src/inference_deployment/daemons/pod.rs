//! What Kubernetes says of a pod that bears on asking its daemon. Pure.

use std::net::{IpAddr, SocketAddr};

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

use super::super::build::{CONTAINER, template_hash};
use super::hash_of;

/// A pod whose container runs, or that is ready. When it differs from before its daemon is asked again.
#[derive(Debug, Hash)]
pub(super) struct Running {
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) is_ready: bool,
    pub(super) template: Option<String>,
    /// Of the daemon, once the pod has one and its container runs.
    pub(super) address: Option<SocketAddr>,
    /// Another after every restart.
    container: Option<String>,
}

/// What is remembered of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    hash: u64,
    pub(super) is_ready: bool,
    pub(super) has_address: bool,
}

impl Running {
    pub(super) fn seen(&self) -> Seen {
        Seen { hash: hash_of(self), is_ready: self.is_ready, has_address: self.address.is_some() }
    }

    /// `None` for one that goes, and while its container does not run.
    pub(super) fn of(pod: &Pod) -> Option<Running> {
        if pod.metadata.deletion_timestamp.is_some() {
            return None;
        }
        let status = pod.status.as_ref()?;
        let container = status.container_statuses.iter().flatten().find(|status| status.name == CONTAINER);
        let is_ready = is_ready(pod);
        let runs = container.and_then(|container| container.state.as_ref()?.running.as_ref()).is_some();
        if !runs && !is_ready {
            return None;
        }
        let address = status.pod_ip.as_deref().and_then(|ip| ip.parse::<IpAddr>().ok());
        let address = address.zip(http_port(pod)).map(SocketAddr::from);
        Some(Running {
            name: pod.name_any(),
            uid: pod.uid().unwrap_or_default(),
            is_ready,
            template: template_hash(&pod.metadata).map(str::to_owned),
            address: address.filter(|_| runs),
            container: container.and_then(|container| container.container_id.clone()),
        })
    }
}

pub(crate) fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// Of the daemon, as its container declares it.
pub(crate) fn http_port(pod: &Pod) -> Option<u16> {
    let containers = &pod.spec.as_ref()?.containers;
    let container = containers.iter().find(|container| container.name == CONTAINER)?;
    let port = container.ports.iter().flatten().find(|port| port.name.as_deref() == Some("http"))?;
    u16::try_from(port.container_port).ok()
}
