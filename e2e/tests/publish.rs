//! Images are pushed to a registry and signed, by the programs that others verify them with. The registry is on loopback.
#![allow(clippy::unwrap_used)] // the helpers of a test fail like the test

mod support;

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use ostro_e2e::process::{Owned, free_port};
use ostro_e2e::{cluster, skipped};
use serde_json::{Value, json};
use support::await_until;
use support::helm::{Helm, documents, only, reference, template};
use tempfile::{NamedTempFile, TempDir};

const PASSWORD: &str = "of the test";

struct Registry {
    bin: PathBuf,
    address: String,
    folder: TempDir,
    _server: Owned,
}

impl Registry {
    /// `None`, with a printed reason, where crane and cosign are not built.
    fn start() -> Option<Registry> {
        if !cluster::is_signing_built().unwrap() {
            skipped::tell("crane and cosign are not built: run `ostro-e2e cluster build`");
            return None;
        }
        let bin = cluster::ensure_signing().unwrap();
        let address = format!("127.0.0.1:{}", free_port().unwrap());
        let server = Command::new(bin.join("crane"))
            .args(["registry", "serve", "--address", &address])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let registry =
            Registry { bin, address, folder: TempDir::new().unwrap(), _server: Owned::new(server) };
        await_until("the registry to answer", || {
            registry.run("crane", &["catalog", &registry.address]).status.success()
        });
        Some(registry)
    }

    fn run(&self, program: &str, words: &[&str]) -> Output {
        let mut command = Command::new(self.bin.join(program));
        command.current_dir(self.folder.path()).env("COSIGN_PASSWORD", PASSWORD).args(words).output().unwrap()
    }

    /// Standard output of a command that must succeed.
    fn output(&self, program: &str, words: &[&str]) -> String {
        let output = self.run(program, words);
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Returns the private half, `NAME.key`; the other is `NAME.pub`.
    fn key(&self, name: &str) -> String {
        self.output("cosign", &["generate-key-pair", "--output-key-prefix", name]);
        self.folder.path().join(format!("{name}.key")).display().to_string()
    }

    /// Any programs do.
    fn publish(&self, to: &str, password: &str, more: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_ostro-e2e"))
            .args(["image", "publish", "--to", to, "--tag", "1.2.3"])
            .args(["--daemon", "/bin/true", "--operator", "/bin/false"])
            .args(more)
            .env("COSIGN_PASSWORD", password)
            .output()
            .unwrap()
    }

    fn verify(&self, key: &str, image: &str) -> bool {
        self.run("cosign", &["verify", "--key", key, "--insecure-ignore-tlog", image]).status.success()
    }

    /// The statements of this kind about an image, which the key has signed.
    fn attested(&self, kind: &str, image: &str) -> Vec<Value> {
        let words =
            ["verify-attestation", "--key", "ours.pub", "--insecure-ignore-tlog", "--type", kind, image];
        let lines = self.output("cosign", &words);
        lines.lines().map(|line| statement(&serde_json::from_str(line).unwrap())).collect()
    }
}

fn statement(envelope: &Value) -> Value {
    let mut payload = NamedTempFile::new().unwrap();
    payload.write_all(envelope["payload"].as_str().unwrap().as_bytes()).unwrap();
    let decoded = Command::new("base64").arg("--decode").arg(payload.path()).output().unwrap();
    serde_json::from_slice(&decoded.stdout).unwrap()
}

#[test]
fn images_are_pushed_signed_and_described() {
    let Some(registry) = Registry::start() else { return };
    let (ours, _) = (registry.key("ours"), registry.key("anybody"));
    let to = format!("{}/acme", registry.address);
    let output = registry.publish(&to, PASSWORD, &["--key", &ours]);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && told.contains("no provenance: who built the programs"), "{told}");
    let values: Value = serde_json::from_slice(&output.stdout).unwrap();
    for (field, name) in [("daemonImage", "ostro"), ("image", "ostro-operator")] {
        let image = reference(&values[field]);
        assert_eq!(values[field]["repository"], json!(format!("{to}/{name}")));
        assert_eq!(
            image,
            registry.output("crane", &["digest", "--full-ref", &format!("{to}/{name}:1.2.3")]).trim()
        );
        assert!(registry.verify("ours.pub", &image) && !registry.verify("anybody.pub", &image), "{image}");
        let bills = registry.attested("cyclonedx", &image);
        let [bill] = bills.as_slice() else { panic!("{bills:?}") };
        let digest = image.split_once("@sha256:").unwrap().1;
        assert_eq!(bill["subject"][0]["digest"]["sha256"], digest);
        assert_eq!(bill["predicate"]["metadata"]["component"]["name"], name);
        let config: Value = serde_json::from_str(&registry.output("crane", &["config", &image])).unwrap();
        assert_eq!(config["config"]["User"], "65532:65532");
    }
    check_chart(&registry, &values, &output.stdout);
}

/// What was printed are values of the chart.
fn check_chart(registry: &Registry, values: &Value, printed: &[u8]) {
    let Some(helm) = Helm::find() else { return };
    let file = registry.folder.path().join("values.json");
    std::fs::write(&file, printed).unwrap();
    let words = [&template(&[])[..], &["--values", file.to_str().unwrap()]].concat();
    let deployment = only(&documents(&helm.run(&words)), "Deployment").to_string();
    for field in ["image", "daemonImage"] {
        assert!(deployment.contains(&reference(&values[field])), "{deployment}");
    }
}

#[test]
fn what_is_wrong_is_told_before_anything_is_pushed() {
    let Some(registry) = Registry::start() else { return };
    let ours = registry.key("ours");
    let to = format!("{}/acme", registry.address);
    let refused = |output: Output, words: &str| {
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && output.stdout.is_empty() && told.contains(words), "{told}");
    };
    refused(registry.publish(&to, "another", &["--key", &ours]), &format!("--key {ours} is no private key"));
    refused(
        registry.publish(&to, PASSWORD, &["--key", "/no/such.key"]),
        "--key /no/such.key is no private key",
    );
    refused(
        registry.publish(&to, PASSWORD, &["--architecture", "amd64,arm64"]),
        "are for one --architecture",
    );
    assert_eq!(registry.output("crane", &["catalog", &registry.address]).trim(), "");
    let nobody = format!("127.0.0.1:{}/acme", free_port().unwrap());
    refused(registry.publish(&nobody, PASSWORD, &[]), &format!("{nobody}/ostro:1.2.3"));
}

#[test]
fn without_a_key_nothing_is_signed() {
    let Some(registry) = Registry::start() else { return };
    registry.key("ours");
    let output = registry.publish(&registry.address, PASSWORD, &[]);
    assert!(output.status.success() && String::from_utf8_lossy(&output.stderr).contains("not signed: --key"));
    let values: Value = serde_json::from_slice(&output.stdout).unwrap();
    let image = reference(&values["image"]);
    assert_eq!(
        registry.output("crane", &["ls", &format!("{}/ostro-operator", registry.address)]).trim(),
        "1.2.3"
    );
    assert!(!registry.verify("ours.pub", &image));
}
