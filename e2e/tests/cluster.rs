//! Clusters come up, run pods (simulated ones, and real ones where the machine can) and leave nothing, even when
//! `up` is killed.
#![allow(clippy::unwrap_used)] // the helpers of a test fail like the test

mod support;

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

use ostro_e2e::process::Owned;
use support::{Cluster, await_until};

const POD: [&str; 7] =
    ["run", "sleeper", "--namespace", "shop", "--image", "registry.local/busybox:1", "--restart=Never"];

#[test]
fn a_simulated_pod_runs_and_nothing_is_left() {
    let Some(cluster) = Cluster::with_simulated_nodes("test-up") else { return };
    assert!(!cluster.try_run(&["status"]).status.success());
    let kubeconfig = cluster.run(&["up", "--control-plane-only"]);
    assert!(std::fs::exists(kubeconfig.trim()).unwrap(), "{kubeconfig}");
    assert!(cluster.run(&["status"]).contains("node1"));
    cluster.kubectl(&["create", "namespace", "shop"]);
    // Made by a controller, a moment after the namespace.
    await_until("the service account", || {
        cluster
            .kubectl(&["get", "serviceaccounts", "--namespace", "shop", "--output", "name"])
            .contains("default")
    });
    cluster.kubectl(&POD);
    await_until("the pod", || {
        let words = ["get", "pod", "sleeper", "--namespace", "shop", "--output", "jsonpath={.status.phase}"];
        cluster.kubectl(&words) == "Running"
    });
    assert_eq!(cluster.processes().len(), 5, "{:?}", cluster.processes());
    // The second `up` finds the first.
    assert_eq!(cluster.run(&["up", "--control-plane-only"]), kubeconfig);
    let other = cluster.try_run(&["up", "--control-plane-only", "--nodes", "2"]);
    assert!(String::from_utf8_lossy(&other.stderr).contains("cluster down"));
    let status = cluster.try_run(&["exec", "--", "sh", "-c", "exit 7"]).status;
    assert_eq!(status.code(), Some(7));
    // As an operator whose test was killed.
    let mut left = Owned::new(cluster.command(&["exec", "--", "sleep", "600"]).spawn().unwrap());
    let command = format!("/proc/{}/cmdline", left.id());
    await_until("sleep", || std::fs::read(&command).unwrap().starts_with(b"sleep"));
    cluster.run(&["down"]);
    await_until("its end", || left.try_wait().unwrap().is_some_and(|status| status.signal() == Some(9)));
    assert_eq!(cluster.leftovers(), [""; 0]);
}

#[test]
fn down_cleans_up_after_a_killed_up() {
    let Some(cluster) = Cluster::with_simulated_nodes("test-killed") else { return };
    let mut up = cluster.command(&["up", "--control-plane-only"]).stderr(Stdio::null()).spawn().unwrap();
    await_until("the first program", || !cluster.processes().is_empty());
    up.kill().unwrap();
    up.wait().unwrap();
    assert_ne!(cluster.processes(), [""; 0], "nothing was left to clean up");
    let status = cluster.try_run(&["status"]);
    assert!(!status.status.success());
    cluster.run(&["down"]);
    assert_eq!(cluster.leftovers(), [""; 0]);
}

/// As a crash leaves it: while the first node's container runtime starts.
#[test]
fn down_cleans_up_nodes_of_a_killed_up() {
    let Some(cluster) = Cluster::with_nodes("test-crash") else { return };
    let mut up = cluster.command(&["up"]).stderr(Stdio::null()).spawn().unwrap();
    let has_node = || cluster.processes().iter().any(|process| process.starts_with("containerd "));
    await_until("a node", has_node);
    up.kill().unwrap();
    up.wait().unwrap();
    assert!(has_node(), "nothing was left to clean up");
    cluster.run(&["down"]);
    assert_eq!(cluster.leftovers(), [""; 0]);
}

/// Real containers: a service by its name, and an image that was built and loaded here.
#[test]
fn a_real_pod_answers_and_nothing_is_left() {
    let Some(cluster) = Cluster::with_nodes("test-nodes") else { return };
    cluster.run(&["up"]);
    let web =
        ["--image=registry.local/busybox:1", "--port=8080", "--expose", "--", "httpd", "-f", "-p", "8080"];
    cluster.kubectl(&[&["run", "web"], &web[..], &["-h", "/bin"]].concat());
    cluster.kubectl(&["wait", "--for=condition=Ready", "pod/web", "--timeout=60s"]);
    let ask =
        ["exec", "web", "--", "wget", "-qO", "/dev/null", "http://web.default.svc.cluster.local:8080/true"];
    await_until("the service", || {
        cluster.try_run(&[&["exec", "--", "kubectl"], &ask[..]].concat()).status.success()
    });

    let folder = tempfile::TempDir::new().unwrap();
    let archive = folder.path().join("images.tar").display().to_string();
    // Any dynamic programs do.
    let words = ["image", "build", "--daemon", "/bin/true", "--operator", "/bin/false", "--out", &archive];
    let output = Command::new(env!("CARGO_BIN_EXE_ostro-e2e")).args(words).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    cluster.run(&["load", &archive]);
    for (name, image, phase) in [("good", "ostro", "Succeeded"), ("bad", "ostro-operator", "Failed")] {
        let image = format!("--image=registry.local/{image}:dev");
        cluster.kubectl(&["run", name, &image, "--restart=Never", "--image-pull-policy=Never"]);
        await_until(phase, || {
            cluster.kubectl(&["get", "pod", name, "--output", "jsonpath={.status.phase}"]) == phase
        });
    }
    assert_ne!(cluster.leftovers(), [""; 0]);
    cluster.run(&["down"]);
    assert_eq!(cluster.leftovers(), [""; 0]);
}
