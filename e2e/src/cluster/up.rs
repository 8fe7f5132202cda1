//! `cluster up`: from nothing to a cluster that takes work, or to nothing again where that fails.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::json;

use super::certificates::{self, RENEW_AFTER_DAYS};
use super::control_plane::{self, Addresses};
use super::folders::Folders;
use super::launch::Launcher;
use super::modules::{CONTROL_PLANE, KUBERNETES, NODES};
use super::network::{self, GATEWAY};
use super::place::Place;
use super::progress::{Progress, await_until};
use super::requirements::{self, Missing};
use super::state::{Shape, State};
use super::{build, down, images, kubeconfig, node};

/// Most steps take seconds; this is for a machine under heavy load.
const STEP_LIMIT: Duration = Duration::from_secs(120);

/// # Errors
/// Another shape is up already; something of the machine is missing; or a program fails, and its log is named.
pub(super) fn up(folders: &Folders, shape: Shape, missing: Missing) -> Result<()> {
    requirements::check(shape, missing)?;
    check_path(folders)?;
    let _lock = folders.lock()?;
    if let Some(state) = State::load(&folders.state())?
        && is_in_use(&state, shape)?
    {
        eprintln!("already up: {shape}");
        return Ok(());
    }
    let archives = prepare(folders, shape)?;
    // What a killed `up` may have left.
    down::remove_all(folders)?;
    let mut launcher = Launcher { place: Place::new(folders, shape), state: State::new(shape) };
    if let Err(error) = start(&mut launcher, &archives) {
        eprintln!("taking down what has been started");
        down::remove_all(folders).context("and the cluster cannot be taken down")?;
        return Err(error);
    }
    Ok(())
}

/// The shell of a node splits lists of paths at spaces.
pub(super) fn check_path(folders: &Folders) -> Result<()> {
    if folders.root.to_string_lossy().contains(char::is_whitespace) {
        bail!("{} has a space in its name; set XDG_CACHE_HOME to a folder without", folders.root.display());
    }
    Ok(())
}

/// A cluster that is up, whole and young is used again.
fn is_in_use(state: &State, shape: Shape) -> Result<bool> {
    let is_whole = state.ready && state.ended().is_none();
    if is_whole && (state.shape != shape || state.is_given) {
        let other = state.describe();
        bail!("another cluster is up ({other}): run `cluster down` first, or give this one a --name");
    }
    if is_whole && state.age_seconds() > u64::from(RENEW_AFTER_DAYS) * 86400 {
        eprintln!("the cluster's certificates end soon: starting it anew");
        return Ok(false);
    }
    Ok(is_whole)
}

/// Programs and images: minutes the first time, then nothing. Returns the archives that nodes take.
fn prepare(folders: &Folders, shape: Shape) -> Result<Vec<PathBuf>> {
    build::ensure(folders, &CONTROL_PLANE)?;
    match shape {
        Shape::ControlPlane { .. } => Ok(Vec::new()),
        Shape::Nodes { .. } => {
            build::ensure(folders, &NODES)?;
            images::ensure(folders)
        }
    }
}

fn start(launcher: &mut Launcher, archives: &[PathBuf]) -> Result<()> {
    let progress = Progress::start();
    let folders = launcher.place.folders.clone();
    // Logs tell of this run only.
    let _ = std::fs::remove_dir_all(&folders.logs);
    for folder in [&folders.run, &folders.logs] {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    launcher.save()?;
    let addresses = match launcher.state.shape {
        Shape::ControlPlane { .. } => Addresses::of_loopback()?,
        Shape::Nodes { .. } => Addresses::of_namespace(GATEWAY),
    };
    write_credentials(&folders, &addresses, launcher.state.shape)?;
    if let Some(namespace) = &launcher.place.namespace {
        network::create(namespace)?;
    }
    start_control_plane(launcher, &addresses)?;
    progress.done("API server ready");
    match launcher.state.shape {
        Shape::ControlPlane { .. } => start_simulator(launcher)?,
        Shape::Nodes { nodes } => (1..=nodes).try_for_each(|index| node::start(launcher, index, archives))?,
    }
    await_nodes(launcher)?;
    progress.done("nodes ready");
    if let Shape::Nodes { .. } = launcher.state.shape {
        start_dns(launcher)?;
        progress.done("DNS ready");
    }
    launcher.state.ready = true;
    launcher.save()
}

fn write_credentials(folders: &Folders, addresses: &Addresses, shape: Shape) -> Result<()> {
    let certificates = folders.certificates();
    let identities = certificates::identities(*addresses.api.ip(), shape);
    certificates::write(&certificates, &identities)?;
    for identity in &identities {
        let config = kubeconfig::build(addresses.api, &certificates, &identity.file);
        kubeconfig::write(&certificates.join(format!("{}.conf", identity.file)), &config)?;
    }
    kubeconfig::write(&folders.kubeconfig(), &kubeconfig::build(addresses.api, &certificates, "admin"))
}

fn start_control_plane(launcher: &mut Launcher, addresses: &Addresses) -> Result<()> {
    let (folders, shape) = (launcher.place.folders.clone(), launcher.state.shape);
    launcher.start(control_plane::etcd(&folders, addresses))?;
    launcher.start(control_plane::api_server(&folders, addresses, shape))?;
    await_until("the API server", STEP_LIMIT, || {
        launcher.check()?;
        Ok(launcher.place.ask(&["get", "--raw", "/readyz"])?.is_some())
    })?;
    launcher.start(control_plane::controllers(&folders, shape))?;
    launcher.start(control_plane::scheduler(&folders))
}

/// Nodes in name only, and who plays their kubelets.
fn start_simulator(launcher: &mut Launcher) -> Result<()> {
    let folders = launcher.place.folders.clone();
    std::fs::write(folders.stages(), include_str!("stages.yaml"))?;
    launcher.start(control_plane::simulator(&folders))?;
    for name in launcher.state.shape.node_names() {
        launcher.place.apply(&simulated_node(&name).to_string())?;
    }
    Ok(())
}

fn simulated_node(name: &str) -> serde_json::Value {
    let resources = json!({"cpu": "32", "memory": "256Gi", "ephemeral-storage": "1Ti", "pods": "1000"});
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "type": "kwok"},
            "annotations": {"kwok.x-k8s.io/node": "fake"},
        },
        "status": {
            "allocatable": resources,
            "capacity": resources,
            "nodeInfo": {
                "operatingSystem": "linux",
                "kubeletVersion": KUBERNETES.version(),
                "containerRuntimeVersion": "simulated",
            },
        },
    })
}

fn await_nodes(launcher: &Launcher) -> Result<()> {
    const READY: &str = r#"jsonpath={.items[*].status.conditions[?(@.type=="Ready")].status}"#;
    let nodes = usize::from(launcher.state.shape.nodes());
    await_until("nodes", STEP_LIMIT, || {
        launcher.check()?;
        let answer = launcher.place.ask(&["get", "nodes", "--output", READY])?.unwrap_or_default();
        Ok(answer.split_whitespace().filter(|status| *status == "True").count() == nodes)
    })
}

fn start_dns(launcher: &Launcher) -> Result<()> {
    const READY: &str = "jsonpath={.status.readyReplicas}";
    launcher.place.apply(include_str!("dns.yaml"))?;
    await_until("DNS", STEP_LIMIT, || {
        launcher.check()?;
        let words = ["get", "deployment", "coredns", "--namespace", "kube-system", "--output", READY];
        Ok(launcher.place.ask(&words)?.as_deref() == Some("1"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_cluster_of_the_same_shape_is_used_again() {
        let shape = Shape::ControlPlane { nodes: 1 };
        let mut state = State::new(shape);
        assert!(!is_in_use(&state, shape).unwrap(), "one that never came up is started anew");
        state.ready = true;
        assert!(is_in_use(&state, shape).unwrap());
        let error = is_in_use(&state, Shape::ControlPlane { nodes: 2 }).unwrap_err().to_string();
        assert!(error.contains("1 node simulated") && error.contains("cluster down"), "{error}");
        state.created_seconds -= 21 * 86400;
        assert!(!is_in_use(&state, shape).unwrap(), "its certificates end soon");
        let mut given = State::given();
        given.created_seconds -= 21 * 86400;
        let error = is_in_use(&given, given.shape).unwrap_err().to_string();
        assert!(error.contains("another's cluster"), "{error}");
    }

    #[test]
    fn spaces_are_refused_before_anything_starts() {
        let mut folders = Folders::new(&"test".parse().unwrap()).unwrap();
        folders.root = PathBuf::from("/a b");
        assert!(check_path(&folders).unwrap_err().to_string().contains("XDG_CACHE_HOME"));
    }

    #[test]
    fn simulated_nodes_take_pods() {
        let node = simulated_node("node1");
        assert_eq!(node["metadata"]["labels"]["kubernetes.io/hostname"], "node1");
        assert_eq!(node["status"]["allocatable"]["pods"], "1000");
    }
}
