//! Published images as a cluster gets them: by digest, from a registry that asks for a password.

use std::process::{Command, Stdio};

use ostro_e2e::cluster::{self, REGISTRY};
use ostro_e2e::process::Owned;
use ostro_e2e::{daemon, skipped};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::objects::{await_ready, get, object, pods, ready_condition};
use crate::support::chart::helm;
use crate::support::helm::{CHARTS, NAMESPACE, RELEASE, reference};
use crate::support::operator::program;
use crate::support::{Cluster, await_until};

const USER: &str = "puller";
const PASSWORD: &str = "of the registry";
const SECRET: &str = "registry";
const KEY_PASSWORD: (&str, &str) = ("COSIGN_PASSWORD", "of the key");

/// `spec` is that of a model that nodes have.
pub(crate) fn check(cluster: &Cluster, mut spec: Value) {
    if !cluster::is_pulling_built().unwrap() {
        skipped::tell("registry, crane and cosign are not built: run `ostro-e2e cluster build`");
        return;
    }
    let publisher = Publisher::start(cluster);
    let values = publisher.publish();
    create_secret(cluster, NAMESPACE);
    upgrade(cluster, &publisher, &values);
    spec["imagePullSecrets"] = json!([{ "name": SECRET }]);
    cluster.apply(&object("pulled", &spec));
    await_until("a registry that refuses to be told, and why", || {
        let ready = ready_condition(cluster, "pulled").unwrap_or_default();
        let message = ready["message"].as_str().unwrap_or_default();
        let words = ["may require authorization", "imagePullSecrets", "pull secrets (registry)"];
        ready["reason"] == "ImagePullFailed" && words.iter().all(|words| message.contains(words))
    });
    create_secret(cluster, "default");
    await_ready(cluster, "pulled");
    let running = pods(cluster, "pulled");
    assert_eq!(running[0]["spec"]["containers"][0]["image"], reference(&values["daemonImage"]));
    cluster.kubectl(&["delete", "infd/pulled"]);
}

/// The registry in the cluster's network, and who may push to it. Ends with the step.
struct Publisher<'a> {
    cluster: &'a Cluster,
    folder: TempDir,
    _registry: Owned,
}

impl Publisher<'_> {
    fn start(cluster: &Cluster) -> Publisher<'_> {
        let address = REGISTRY.to_string();
        let mut command = cluster.command(&["exec", "--", "registry", "-listen", &address]);
        command.args(["-user", USER, "-password", PASSWORD]);
        let registry = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let folder = TempDir::new().unwrap();
        let publisher = Publisher { cluster, folder, _registry: Owned::new(registry) };
        publisher.run(&["crane", "auth", "login", &address, "--username", USER, "--password", PASSWORD]);
        await_until("the registry to answer", || {
            publisher.command(&["crane", "catalog", &address]).output().unwrap().status.success()
        });
        publisher.run(&["cosign", "generate-key-pair", "--output-key-prefix", &publisher.path("ours")]);
        publisher
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = self.cluster.command(&[&["exec", "--"], words].concat());
        command.env("DOCKER_CONFIG", self.folder.path()).env(KEY_PASSWORD.0, KEY_PASSWORD.1);
        command
    }

    /// Standard output of a command that must succeed.
    fn run(&self, words: &[&str]) -> Vec<u8> {
        let output = self.command(words).output().unwrap();
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    /// Returns Helm values, and leaves them in a file.
    fn publish(&self) -> Value {
        let (daemon, operator) = (daemon::binary().unwrap(), program("ostro-operator"));
        let [daemon, operator] = [&daemon, &operator].map(|path| path.to_str().unwrap());
        let to = format!("{REGISTRY}/acme");
        let ours = self.path("ours.key");
        let words = [env!("CARGO_BIN_EXE_ostro-e2e"), "image", "publish", "--to", &to, "--key", &ours];
        let printed = self.run(&[&words[..], &["--daemon", daemon, "--operator", operator]].concat());
        std::fs::write(self.path("values.json"), &printed).unwrap();
        serde_json::from_slice(&printed).unwrap()
    }
}

fn create_secret(cluster: &Cluster, namespace: &str) {
    let server = format!("--docker-server={REGISTRY}");
    let (user, password) = (format!("--docker-username={USER}"), format!("--docker-password={PASSWORD}"));
    let words = ["create", "secret", "docker-registry", SECRET, "--namespace", namespace];
    cluster.kubectl(&[&words[..], &[&server, &user, &password]].concat());
}

fn upgrade(cluster: &Cluster, publisher: &Publisher<'_>, values: &Value) {
    let secret = format!("image.pullSecrets[0].name={SECRET}");
    let chart = format!("{CHARTS}/ostro-operator");
    let file = publisher.path("values.json");
    let words = ["upgrade", RELEASE, &chart, "--namespace", NAMESPACE, "--reuse-values", "--values", &file];
    helm(cluster, &[&words[..], &["--set", &secret, "--wait", "--timeout", "90s"]].concat());
    let deployment = get(cluster, &["deployment", RELEASE, "--namespace", NAMESPACE]);
    let image = &deployment["spec"]["template"]["spec"]["containers"][0]["image"];
    assert_eq!(*image, reference(&values["image"]));
}
