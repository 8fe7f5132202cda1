//! The objects that are made: many, small, over some namespaces.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Result, bail};
use serde_json::{Value, json};

use super::api::Api;

const NAMESPACES: usize = 10;
/// Objects that are made at the same time.
const AT_ONCE: usize = 8;

pub(super) fn namespace(index: usize) -> String {
    format!("scale-{}", index % NAMESPACES)
}

/// `namespace/name`
pub(super) fn key(index: usize) -> String {
    format!("{}/m{index}", namespace(index))
}

/// A change of `max_seqs` changes the configuration, with it the Deployment, and replaces the pod.
pub(super) fn apply(api: &Api, index: usize, max_seqs: u32) -> Result<()> {
    let (namespace, name) = (namespace(index), format!("m{index}"));
    let object = object(&namespace, &name, max_seqs);
    let group = "/apis/inference.ostro.dev/v1alpha1";
    api.apply(&format!("{group}/namespaces/{namespace}/inferencedeployments/{name}"), &object)
}

fn object(namespace: &str, name: &str, max_seqs: u32) -> Value {
    json!({
        "apiVersion": "inference.ostro.dev/v1alpha1",
        "kind": "InferenceDeployment",
        "metadata": { "name": name, "namespace": namespace },
        "spec": {
            "models": [{ "modelId": "HuggingFaceTB/SmolLM2-135M-Instruct" }],
            "runtime": { "maxSeqs": max_seqs },
            "resources": { "requests": { "cpu": "10m", "memory": "64Mi" }, "limits": { "memory": "64Mi" } },
        },
    })
}

pub(super) fn create_namespaces(api: &Api) -> Result<()> {
    (0..NAMESPACES).map(namespace).try_for_each(|name| {
        let object = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } });
        api.apply(&format!("/api/v1/namespaces/{name}"), &object)
    })
}

pub(super) fn create(api: &Api, indices: Range<usize>, max_seqs: u32) -> Result<()> {
    let next = AtomicUsize::new(indices.start);
    let create_some = || -> Result<()> {
        loop {
            match next.fetch_add(1, Ordering::Relaxed) {
                index if index < indices.end => apply(api, index, max_seqs)?,
                _ => return Ok(()),
            }
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(create_some)).collect();
        threads.into_iter().try_for_each(|thread| match thread.join() {
            Ok(result) => result,
            Err(_) => bail!("creating objects failed"),
        })
    })
}
