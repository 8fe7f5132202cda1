//! What the API server refuses, and takes, of objects: the cases that `validate` is held to.

use std::process::Stdio;

use ostro_e2e::http;
use ostro_e2e::process::{Owned, free_port};
use serde_json::{Value, json};
use ureq::Agent;

use crate::support::{Cluster, await_until};
use crate::{NAMESPACE, manifest};

pub(crate) fn check(cluster: &Cluster) {
    let server = Server::of(cluster);
    check_cases(cluster, &server);
    check_names(&server);
    check_volume_changes(cluster);
}

/// The API server behind `kubectl proxy`: a process for each case would take longer than the case.
struct Server {
    objects: String,
    agent: Agent,
    _proxy: Owned,
}

impl Server {
    fn of(cluster: &Cluster) -> Server {
        let port = free_port().unwrap().to_string();
        let mut command = cluster.command(&["exec", "--", "kubectl", "proxy", "--port", &port]);
        let proxy = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        let group = format!("http://127.0.0.1:{port}/apis/inference.ostro.dev/v1alpha1");
        let objects = format!("{group}/namespaces/{NAMESPACE}/inferencedeployments");
        let server = Server { objects, agent: http::agent(), _proxy: Owned::new(proxy) };
        await_until("the proxy", || http::get(&server.objects).call().is_ok());
        server
    }

    /// Why a new object is refused, without making it.
    fn refusal(&self, object: &str) -> Option<String> {
        let request = self.agent.post(&self.objects).header("Content-Type", "application/json");
        let request = request.query("dryRun", "All").query("fieldValidation", "Strict");
        let request = request.config().http_status_as_error(false).build();
        let mut answer = request.send(object).unwrap();
        let told: Value = answer.body_mut().read_json().unwrap();
        (!answer.status().is_success()).then(|| told["message"].as_str().unwrap().to_owned())
    }
}

fn refusal_by_kubectl(cluster: &Cluster, object: &str) -> Option<String> {
    let output = cluster.kubectl_input(&["apply", "--dry-run=server", "-f", "-"], object);
    (!output.status.success()).then(|| String::from_utf8_lossy(&output.stderr).into_owned())
}

fn check_cases(cluster: &Cluster, server: &Server) {
    let tables =
        [include_str!("../../../crds/tests/rules.json"), include_str!("../../../crds/tests/partners.json")];
    for case in tables.map(|table| serde_json::from_str::<Vec<Value>>(table).unwrap()).concat() {
        let spec = &case["spec"];
        let object = manifest("rules", spec);
        // kubectl drops what is null, and these cases are of what is left then.
        let has_null = object.contains("null");
        let refusal = if has_null { refusal_by_kubectl(cluster, &object) } else { server.refusal(&object) };
        // Messages of rules, and fields that the schema refuses.
        let told =
            ["broken", "refused"].map(|kind| case[kind].as_array().cloned().unwrap_or_default()).concat();
        assert_eq!(refusal.is_none(), told.is_empty(), "{spec}: {refusal:?}");
        let errors = refusal.unwrap_or_default();
        for told in told {
            assert!(errors.contains(told.as_str().unwrap()), "{told}: {errors}");
        }
    }
}

/// That no Service could bear, or no label.
fn check_names(server: &Server) {
    for name in ["a.b", "9a", &"a".repeat(64)] {
        let object = manifest(name, &json!({ "models": [{ "modelId": "a/b" }] }));
        let refusal = server.refusal(&object);
        assert!(
            refusal.as_ref().is_some_and(|errors| errors.contains("metadata.name")),
            "{name}: {refusal:?}"
        );
    }
}

/// Of `spec.cache.volume`: rules that compare an object with what it was.
fn check_volume_changes(cluster: &Cluster) {
    let cases: Vec<Value> =
        serde_json::from_str(include_str!("../../../crds/tests/volume_changes.json")).unwrap();
    let with = |volume: &Value| {
        manifest("rules", &json!({ "models": [{ "modelId": "a/b" }], "cache": { "volume": volume } }))
    };
    for case in cases {
        cluster.apply(&with(&case["before"]));
        let refusal = refusal_by_kubectl(cluster, &with(&case["after"]));
        let broken = case["broken"].as_array().unwrap();
        assert_eq!(refusal.is_none(), broken.is_empty(), "{case}: {refusal:?}");
        let errors = refusal.unwrap_or_default();
        assert!(broken.iter().all(|message| errors.contains(message.as_str().unwrap())), "{case}: {errors}");
        cluster.kubectl(&["delete", "infd/rules", "--namespace", NAMESPACE]);
    }
}
