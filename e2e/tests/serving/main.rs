//! What a user does on a cluster whose nodes run containers: from images and Helm to a real model that answers through
//! its Service, while pods are replaced, nodes drained and daemons killed, and to a deletion that leaves nothing.
//!
//! One cluster for all of it, since to bring one up takes half a minute; each step says how long it took.
#![allow(clippy::unwrap_used)] // the helpers of a test fail like the test

mod caches;
mod clients;
mod crash;
mod example;
mod hub;
mod network;
mod objects;
mod operator;
mod policies;
mod refusals;
mod registry;
mod removal;
mod replacement;
#[path = "../support/mod.rs"]
mod support;
mod upgrade;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use objects::{PYTHON, await_ready, chat, pods};
use ostro_e2e::image::{self, with_python};
use ostro_e2e::{daemon, model, python};
use support::Cluster;
use support::chart::{helm, install_api};
use support::helm::{CHARTS, NAMESPACE, RELEASE};
use support::operator::program;

fn images(folder: &Path) -> PathBuf {
    let archive = folder.join("images.tar");
    let daemon = daemon::binary().unwrap();
    let operator = program("ostro-operator");
    let mut command = Command::new(env!("CARGO_BIN_EXE_ostro-e2e"));
    command
        .args(["image", "build", "--out"])
        .arg(&archive)
        .arg("--daemon")
        .arg(daemon)
        .arg("--operator")
        .arg(operator);
    assert!(command.status().unwrap().success());
    archive
}

/// Python with the pinned packages and the scripts of the clients.
fn client_image(folder: &Path) -> PathBuf {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("python");
    let interpreter = python::environment(&scripts.join("requirements.txt")).unwrap();
    let archive = folder.join("python.tar");
    image::write(&archive, &[with_python(PYTHON, &interpreter, &scripts).unwrap()]).unwrap();
    archive
}

fn install(cluster: &Cluster) {
    install_api(cluster);
    let images = ["image.repository=registry.local/ostro-operator", "image.tag=dev"];
    let daemon = ["daemonImage.repository=registry.local/ostro", "daemonImage.tag=dev"];
    // Held to its policy for all of the test.
    let policy = ["networkPolicy.enabled=true"];
    let set = [&images[..], &daemon, &policy].concat().join(",");
    let chart = format!("{CHARTS}/ostro-operator");
    let words = ["install", RELEASE, &chart, "--namespace", NAMESPACE, "--create-namespace", "--set", &set];
    helm(cluster, &[&words[..], &["--wait", "--timeout", "90s"]].concat());
}

fn start(cluster: &Cluster) {
    let folder = tempfile::tempdir().unwrap();
    let archives = [images(folder.path()), client_image(folder.path())];
    let [programs, client] = archives.each_ref().map(|path| path.to_str().unwrap());
    cluster.run(&["up", "--nodes", "2"]);
    cluster.run(&["load", programs, client]);
    install(cluster);
}

/// Prints how long it took.
fn step<T>(name: &str, run: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let result = run();
    let took = start.elapsed();
    eprintln!("{name}: {:.1} s", took.as_secs_f64());
    (result, took)
}

#[test]
fn models_are_served_on_real_nodes() {
    let Some(cluster) = Cluster::with_nodes("test-serving") else { return };
    let model = &model::ensure_gguf("smollm2-135m-instruct").unwrap();
    step("images, two nodes, Helm", || start(&cluster));
    let ((), took) = step("a model of the node's disk, from apply to Ready", || {
        cluster.apply(&chat(model, 8));
        await_ready(&cluster, "chat");
    });
    assert!(took < Duration::from_secs(20), "{took:?}");
    step("a rolling update loses no request", || {
        replacement::rolling_update(&cluster, &chat(model, 4));
    });
    step("kubectl scale to two replicas", || {
        cluster.kubectl(&["scale", "infd/chat", "--replicas=2"]);
        await_ready(&cluster, "chat");
        assert_eq!(pods(&cluster, "chat").len(), 2);
    });
    step("pods reach, and are reached by, what policies say", || policies::check(&cluster, model));
    step("the openai package of Python, in a pod", || clients::openai(&cluster, model));
    step("kubectl ostro", || clients::kubectl_ostro(&cluster));
    step("a killed daemon starts again while the other answers", || crash::kill(&cluster));
    step("a node is drained", || replacement::drain(&cluster));
    step("an operator killed at any moment ends in the same state", || {
        operator::kill(&cluster, model);
    });
    step("the drain lost no request", || replacement::check_drained(&cluster));
    step("an upgrade of the operator by Helm restarts no pod", || upgrade::by_helm(&cluster));
    step("the example, without a hub and with one", || example::check(&cluster));
    step("caches: a claim, another's, a disk, an image", || caches::check(&cluster));
    step("specs that cannot work are told", || refusals::check(&cluster));
    step("deletion leaves nothing", || removal::check(&cluster));
    step("images of a registry that asks for a password", || {
        registry::check(&cluster, objects::of_disk(model));
    });
    cluster.run(&["down"]);
    assert_eq!(cluster.leftovers(), [""; 0]);
}
