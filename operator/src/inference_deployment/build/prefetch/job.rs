//! The Job. Its pods read the configuration of the pods that wait for it, with the same rights, into the same cache.
//! They ask for no GPU, and never get ready: nobody sends them requests.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::{
    Affinity, Container, ContainerPort, HTTPGetAction, PodAffinity, PodAffinityTerm, PodSpec,
    PodTemplateSpec, Probe, ResourceRequirements, Toleration, WeightedPodAffinityTerm,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::core::ObjectMeta;
use ostro_config::Loaded;

use crate::inference_deployment::build::config_map::FILE;
use crate::inference_deployment::build::names::{Names, prefetch_labels};
use crate::inference_deployment::build::pod::CONTAINER;
use crate::inference_deployment::build::volumes::CONFIG_DIR;
use crate::inference_deployment::build::{Rendering, TEMPLATE_HASH_ANNOTATION, json, short_hash, template};

/// Of a label's value, which the Job's name is too.
const NAME_MAX: usize = 63;
const HASH_CHARS: usize = 16;
const INFIX: &str = "-prefetch-";
/// A container that fails is begun again, ever more rarely, in the same pod: what it has downloaded stays. Another pod
/// is made where a node goes.
const RETRIES_MAX: i32 = 100_000;
/// What is downloaded in part is gone on with later.
const END_SECONDS: i64 = 5;

/// None of a rendering that this version cannot read.
pub(super) fn build(names: &Names, rendering: &Rendering) -> Option<Job> {
    let mut pod = rendering.pod();
    let spec = pod.spec.take()?;
    let container = spec.containers.iter().find(|container| container.name == CONTAINER)?.clone();
    let affinity = affinity(names, spec.affinity);
    let tolerations = tolerations(spec.tolerations, &container);
    let init = spec.init_containers.map(|all| all.into_iter().map(without_devices).collect());
    let spec = PodSpec {
        containers: vec![downloader(container, &rendering.config)?],
        init_containers: init,
        affinity: Some(affinity),
        tolerations: Some(tolerations),
        restart_policy: Some("OnFailure".to_owned()),
        termination_grace_period_seconds: Some(END_SECONDS),
        topology_spread_constraints: None,
        // The daemon of before may have the node's port.
        host_network: None,
        resource_claims: None,
        resources: None,
        ..spec
    };
    let mut annotations = pod.metadata.and_then(|metadata| metadata.annotations).unwrap_or_default();
    annotations.remove(TEMPLATE_HASH_ANNOTATION);
    let metadata = ObjectMeta {
        labels: Some(prefetch_labels(&names.name)),
        annotations: Some(annotations),
        ..ObjectMeta::default()
    };
    let mut template = PodTemplateSpec { metadata: Some(metadata), spec: Some(spec) };
    template::mark(&mut template);
    let hash = short_hash(json(&template).to_string().as_bytes());
    Some(Job {
        metadata: ObjectMeta {
            name: Some(format!("{}{hash}", prefix(&names.name))),
            ..ObjectMeta::default()
        },
        spec: Some(JobSpec { backoff_limit: Some(RETRIES_MAX), template, ..JobSpec::default() }),
        ..Job::default()
    })
}

/// Of the names of an object's Jobs.
pub(crate) fn prefix(name: &str) -> String {
    let most = NAME_MAX - HASH_CHARS - INFIX.len();
    let short = name.get(..most).map(|start| start.trim_end_matches(['-', '.']));
    match short {
        Some(start) if name.len() > most => format!("{start}{INFIX}"),
        _ => format!("{name}{INFIX}"),
    }
}

fn downloader(container: Container, config: &str) -> Option<Container> {
    let server = Loaded::from_toml(FILE, config).ok()?.config.server;
    let host = server.host.as_str().parse::<IpAddr>().unwrap_or(Ipv4Addr::UNSPECIFIED.into());
    let listen = SocketAddr::new(host, u16::try_from(server.port.get()).ok()?).to_string();
    let args = ["pull", "-f", &format!("{CONFIG_DIR}/{FILE}"), "--listen", &listen].map(str::to_owned);
    let amounts = |amounts: [(&str, &str); 2]| {
        amounts.map(|(name, amount)| (name.to_owned(), Quantity(amount.to_owned()))).into()
    };
    let ports = container.ports.into_iter().flatten();
    let ports: Vec<ContainerPort> =
        ports.map(|port| ContainerPort { host_port: None, host_ip: None, ..port }).collect();
    Some(Container {
        ports: Some(ports),
        args: Some(args.into()),
        resources: Some(ResourceRequirements {
            requests: Some(amounts([("cpu", "100m"), ("memory", "128Mi")])),
            limits: Some(amounts([("cpu", "2"), ("memory", "512Mi")])),
            ..ResourceRequirements::default()
        }),
        readiness_probe: Some(never()),
        startup_probe: None,
        liveness_probe: None,
        lifecycle: None,
        ..container
    })
}

/// Nodes with devices are often kept for those who ask for them, by taints that the API server has such pods tolerate.
fn tolerations(given: Option<Vec<Toleration>>, container: &Container) -> Vec<Toleration> {
    let mut tolerations = given.unwrap_or_default();
    let lists = container.resources.iter().flat_map(|resources| [&resources.limits, &resources.requests]);
    let devices: BTreeSet<&String> =
        lists.flatten().flat_map(BTreeMap::keys).filter(|name| is_device(name)).collect();
    tolerations.extend(devices.into_iter().map(|device| Toleration {
        key: Some(device.clone()),
        operator: Some("Exists".to_owned()),
        ..Toleration::default()
    }));
    tolerations
}

fn without_devices(mut container: Container) -> Container {
    if let Some(resources) = &mut container.resources {
        resources.claims = None;
        let lists = [&mut resources.limits, &mut resources.requests];
        lists.into_iter().flatten().for_each(|list| list.retain(|name, _| !is_device(name)));
    }
    container
}

/// Kubernetes' own resources have no domain.
fn is_device(resource: &str) -> bool {
    resource.contains('/')
}

/// What only downloads answers this with 503.
fn never() -> Probe {
    let get = HTTPGetAction {
        path: Some("/ready".to_owned()),
        port: IntOrString::String("http".to_owned()),
        ..HTTPGetAction::default()
    };
    Probe { http_get: Some(get), period_seconds: Some(60), ..Probe::default() }
}

/// On nodes that the pods may have too; a volume of one node is where pods of before are.
fn affinity(names: &Names, pods: Option<Affinity>) -> Affinity {
    let selector = LabelSelector { match_labels: Some(names.selector()), ..LabelSelector::default() };
    let term = PodAffinityTerm {
        label_selector: Some(selector),
        topology_key: "kubernetes.io/hostname".to_owned(),
        ..PodAffinityTerm::default()
    };
    let preferred = vec![WeightedPodAffinityTerm { weight: 100, pod_affinity_term: term }];
    Affinity {
        node_affinity: pods.and_then(|pods| pods.node_affinity),
        pod_affinity: Some(PodAffinity {
            preferred_during_scheduling_ignored_during_execution: Some(preferred),
            ..PodAffinity::default()
        }),
        pod_anti_affinity: None,
    }
}
