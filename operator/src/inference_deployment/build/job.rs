//! Jobs on an object's cache. Their pods read the configuration of the object's pods, with the same rights, and have the
//! same cache. They ask for no GPU, downloads neither for its runtime, and never get ready: nobody sends them requests.

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

use super::config_map::FILE;
use super::names::{self, Names};
use super::pod::CONTAINER;
use super::volumes::CONFIG_DIR;
use super::{Rendering, TEMPLATE_HASH_ANNOTATION, json, short_hash, template};

/// Of a label's value, which the Job's name is too.
const NAME_MAX: usize = 63;
const HASH_CHARS: usize = 16;
/// What is downloaded in part is gone on with later, and so is what is removed.
const END_SECONDS: i64 = 5;

/// What a Job is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Prefetch,
    Prune,
}

impl Purpose {
    pub(crate) const ALL: [Self; 2] = [Self::Prefetch, Self::Prune];

    /// Part of the Job's name, between the object's and a hash.
    fn infix(self) -> &'static str {
        match self {
            Purpose::Prefetch => "-prefetch-",
            Purpose::Prune => "-prune-",
        }
    }

    /// Of the pods' label.
    pub(super) fn app(self) -> &'static str {
        match self {
            Purpose::Prefetch => "ostro-prefetch",
            Purpose::Prune => "ostro-prune",
        }
    }

    /// A container that fails is begun again, ever more rarely, in the same pod: what it has downloaded stays. Another
    /// pod is made where a node goes. What only tidies up is given up, and its pods stay, so that they can be asked why.
    fn retries(self) -> (&'static str, i32) {
        match self {
            Purpose::Prefetch => ("OnFailure", 100_000),
            Purpose::Prune => ("Never", 3),
        }
    }
}

/// None of a rendering that this version cannot read.
pub(super) fn build(names: &Names, rendering: &Rendering, purpose: Purpose) -> Option<Job> {
    let (restart_policy, retries_max) = purpose.retries();
    let mut pod = rendering.pod();
    let spec = pod.spec.take()?;
    let container = spec.containers.iter().find(|container| container.name == CONTAINER)?.clone();
    let affinity = affinity(names, spec.affinity);
    let devices = devices(&container);
    let runtime_class_name = spec.runtime_class_name.filter(|class| !is_left_out(class, purpose));
    let tolerations = tolerations(spec.tolerations, devices);
    let init = spec.init_containers.map(|all| all.into_iter().map(without_devices).collect());
    let spec = PodSpec {
        containers: vec![worker(container, &rendering.config, purpose)?],
        init_containers: init,
        affinity: Some(affinity),
        tolerations: Some(tolerations),
        runtime_class_name,
        restart_policy: Some(restart_policy.to_owned()),
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
        labels: Some(names::job_labels(&names.name, purpose)),
        annotations: Some(annotations),
        ..ObjectMeta::default()
    };
    let mut template = PodTemplateSpec { metadata: Some(metadata), spec: Some(spec) };
    template::mark(&mut template);
    let hash = short_hash(json(&template).to_string().as_bytes());
    Some(Job {
        metadata: ObjectMeta {
            name: Some(format!("{}{hash}", prefix(&names.name, purpose))),
            ..ObjectMeta::default()
        },
        spec: Some(JobSpec { backoff_limit: Some(retries_max), template, ..JobSpec::default() }),
        ..Job::default()
    })
}

/// Of the names of an object's Jobs.
pub(crate) fn prefix(name: &str, purpose: Purpose) -> String {
    let infix = purpose.infix();
    let most = NAME_MAX - HASH_CHARS - infix.len();
    let short = name.get(..most).map(|start| start.trim_end_matches(['-', '.']));
    match short {
        Some(start) if name.len() > most => format!("{start}{infix}"),
        _ => format!("{name}{infix}"),
    }
}

fn worker(container: Container, config: &str, purpose: Purpose) -> Option<Container> {
    let file = format!("{CONFIG_DIR}/{FILE}");
    let args = match purpose {
        Purpose::Prefetch => {
            vec!["pull".to_owned(), "-f".to_owned(), file, "--listen".to_owned(), listen(config)?]
        }
        Purpose::Prune => ["prune", "-f", &file, "--yes"].map(str::to_owned).into(),
    };
    let amounts = |amounts: [(&str, &str); 2]| {
        amounts.map(|(name, amount)| (name.to_owned(), Quantity(amount.to_owned()))).into()
    };
    let ports = container.ports.into_iter().flatten();
    let ports: Vec<ContainerPort> =
        ports.map(|port| ContainerPort { host_port: None, host_ip: None, ..port }).collect();
    Some(Container {
        ports: Some(ports),
        args: Some(args),
        resources: Some(ResourceRequirements {
            requests: Some(amounts([("cpu", "100m"), ("memory", "128Mi")])),
            limits: Some(amounts([("cpu", "2"), ("memory", "512Mi")])),
            ..ResourceRequirements::default()
        }),
        readiness_probe: (purpose == Purpose::Prefetch).then(never),
        startup_probe: None,
        liveness_probe: None,
        lifecycle: None,
        ..container
    })
}

/// Where the download tells how far it is: as the daemon would.
fn listen(config: &str) -> Option<String> {
    let server = Loaded::from_toml(FILE, config).ok()?.config.server;
    let host = server.host.as_str().parse::<IpAddr>().unwrap_or(Ipv4Addr::UNSPECIFIED.into());
    Some(SocketAddr::new(host, u16::try_from(server.port.get()).ok()?).to_string())
}

/// NVIDIA's runtime is on nodes with its GPUs only, and a download may come to another. Who prunes is where pods were; a
/// Job with another template would prune once more, without a rollout.
fn is_left_out(runtime_class: &str, purpose: Purpose) -> bool {
    purpose == Purpose::Prefetch && runtime_class.starts_with("nvidia")
}

/// That a container asks for.
fn devices(container: &Container) -> BTreeSet<String> {
    let lists = container.resources.iter().flat_map(|resources| [&resources.limits, &resources.requests]);
    lists.flatten().flat_map(BTreeMap::keys).filter(|name| is_device(name)).cloned().collect()
}

/// Nodes with devices are often kept for those who ask for them, by taints that the API server has such pods tolerate.
fn tolerations(given: Option<Vec<Toleration>>, devices: BTreeSet<String>) -> Vec<Toleration> {
    let mut tolerations = given.unwrap_or_default();
    tolerations.extend(devices.into_iter().map(|device| Toleration {
        key: Some(device),
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
