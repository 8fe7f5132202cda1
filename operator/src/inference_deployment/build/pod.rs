//! The pod: one container of the daemon, with no more rights than it needs.

use k8s_openapi::api::core::v1::{
    Capabilities, Container, ContainerPort, EnvVar, EnvVarSource, Lifecycle, LifecycleHandler,
    PodSecurityContext, PodSpec, PodTemplateSpec, SeccompProfile, SecurityContext, SleepAction,
};
use kube::core::ObjectMeta;
use ostro_config::{Loaded, Problems};
use ostro_crds::InferenceDeploymentSpec;

use super::config_map::FILE;
use super::names::{Names, labels};
use super::volumes::{self, CACHE_DIR, CONFIG_DIR};
use super::{Defaults, gpu, patch, probes, template};

pub(crate) const CONTAINER: &str = "ostro";
/// As in the image.
const USER: i64 = 65532;
/// Between the Service's forgetting the pod and the daemon's stop: no new request is lost.
const FORGET_SECONDS: i64 = 5;
const DRAIN_SECONDS: i64 = 60;
/// What the daemon takes at most to end after its answers had their time: it cancels them, and writes its log.
const END_SECONDS: i64 = 10;
/// Tells the daemon its time.
pub(super) const DRAIN_VARIABLE: &str = "OSTRO_DRAIN_SECONDS";

/// What is not the object's own.
pub(super) struct PodInput<'a> {
    pub(super) defaults: &'a Defaults,
    /// Of the configuration, named by its content: pods are replaced when it changes.
    pub(super) config_map: &'a str,
}

pub(super) fn build(
    names: &Names,
    spec: &InferenceDeploymentSpec,
    daemon: &Loaded,
    input: &PodInput<'_>,
) -> Result<PodTemplateSpec, Problems> {
    let (volumes, mounts) = volumes::build(names, spec, input.config_map);
    let mut container = container(spec, daemon, input.defaults);
    container.volume_mounts = Some(mounts);
    let template = PodTemplateSpec {
        metadata: Some(ObjectMeta { labels: Some(labels(&names.name)), ..ObjectMeta::default() }),
        spec: Some(PodSpec {
            containers: vec![container],
            volumes: Some(volumes),
            service_account_name: Some(
                spec.service_account_name.clone().unwrap_or_else(|| names.name.clone()),
            ),
            automount_service_account_token: Some(false),
            enable_service_links: Some(false),
            security_context: Some(pod_security()),
            termination_grace_period_seconds: Some(
                drain_seconds(spec).saturating_add(FORGET_SECONDS + END_SECONDS),
            ),
            image_pull_secrets: some_list(&spec.image_pull_secrets),
            node_selector: (!spec.node_selector.is_empty()).then(|| spec.node_selector.clone()),
            tolerations: some_list(&spec.tolerations),
            affinity: spec.affinity.clone(),
            topology_spread_constraints: some_list(&spec.topology_spread_constraints),
            priority_class_name: spec.priority_class_name.clone(),
            runtime_class_name: spec.runtime_class_name.clone(),
            ..PodSpec::default()
        }),
    };
    let mut template = patch::apply(names, spec, template)?;
    template::mark(&mut template);
    Ok(template)
}

fn drain_seconds(spec: &InferenceDeploymentSpec) -> i64 {
    spec.rollout.as_ref().and_then(|rollout| rollout.drain_seconds).unwrap_or(DRAIN_SECONDS)
}

fn container(spec: &InferenceDeploymentSpec, daemon: &Loaded, defaults: &Defaults) -> Container {
    let probes = probes::build(spec);
    let port = i32::try_from(daemon.config.server.port.get()).unwrap_or_default();
    Container {
        name: CONTAINER.to_owned(),
        image: Some(spec.image.clone().unwrap_or_else(|| defaults.image.clone())),
        image_pull_policy: spec.image_pull_policy.map(|policy| policy.as_str().to_owned()),
        args: Some(["from-config", "-f", &format!("{CONFIG_DIR}/{FILE}")].map(str::to_owned).into()),
        env: Some(environment(spec)),
        ports: Some(vec![ContainerPort {
            name: Some("http".to_owned()),
            container_port: port,
            protocol: Some("TCP".to_owned()),
            ..ContainerPort::default()
        }]),
        resources: spec.resources.clone(),
        startup_probe: Some(probes.startup),
        readiness_probe: Some(probes.readiness),
        liveness_probe: Some(probes.liveness),
        lifecycle: Some(Lifecycle {
            pre_stop: Some(LifecycleHandler {
                sleep: Some(SleepAction { seconds: FORGET_SECONDS }),
                ..LifecycleHandler::default()
            }),
            ..Lifecycle::default()
        }),
        security_context: Some(container_security()),
        // The daemon's last words, for the status.
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        ..Container::default()
    }
}

/// The object's own variables come last, and win.
fn environment(spec: &InferenceDeploymentSpec) -> Vec<EnvVar> {
    let plain = |name: &str, value: &str| EnvVar {
        name: name.to_owned(),
        value: Some(value.to_owned()),
        ..EnvVar::default()
    };
    let drain = drain_seconds(spec).to_string();
    // A pod is ready with all of its models; one that lacks some is to start again.
    let mut variables = vec![
        plain("HF_HOME", CACHE_DIR),
        plain("HOME", "/tmp"),
        plain(DRAIN_VARIABLE, &drain),
        plain("OSTRO_ALL_MODELS", "1"),
    ];
    variables.extend(spec.hugging_face_token.as_ref().map(|token| EnvVar {
        name: "HF_TOKEN".to_owned(),
        value_from: Some(EnvVarSource {
            secret_key_ref: Some(token.secret_key_ref.clone()),
            ..EnvVarSource::default()
        }),
        ..EnvVar::default()
    }));
    if spec.is_offline() {
        variables.push(plain("HF_HUB_OFFLINE", "1"));
    }
    variables.extend(gpu::kernel_cache(spec).map(|folder| plain(gpu::KERNEL_CACHE, &folder)));
    if gpu::is_required(spec) {
        variables.push(plain(gpu::REQUIRE_VARIABLE, "1"));
    }
    variables.retain(|variable| spec.env.iter().all(|own| own.name != variable.name));
    variables.extend(spec.env.iter().cloned());
    variables
}

/// The `restricted` standard.
fn pod_security() -> PodSecurityContext {
    PodSecurityContext {
        run_as_non_root: Some(true),
        run_as_user: Some(USER),
        run_as_group: Some(USER),
        fs_group: Some(USER),
        // A large cache is not walked through at every start.
        fs_group_change_policy: Some("OnRootMismatch".to_owned()),
        seccomp_profile: Some(SeccompProfile {
            type_: "RuntimeDefault".to_owned(),
            ..SeccompProfile::default()
        }),
        ..PodSecurityContext::default()
    }
}

fn container_security() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        read_only_root_filesystem: Some(true),
        capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), ..Capabilities::default() }),
        ..SecurityContext::default()
    }
}

fn some_list<T: Clone>(list: &[T]) -> Option<Vec<T>> {
    (!list.is_empty()).then(|| list.to_vec())
}
