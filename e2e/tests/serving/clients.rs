//! Clients of a model: an unmodified package in another pod.

use std::path::Path;

use serde_json::json;

use crate::objects::{PYTHON, apply, await_phase, client};
use crate::support::Cluster;

/// All that `tests/openai_client.rs` asks of a daemon is asked of the Service, by its name in DNS.
pub(crate) fn openai(cluster: &Cluster, model: &Path) {
    let container = json!({
        "image": PYTHON, "args": ["-B", "/scripts/test_openai_client.py"],
        "env": [
            { "name": "OSTRO_URL", "value": "http://chat.default.svc.cluster.local/v1" },
            { "name": "OSTRO_MODEL", "value": model.file_stem().unwrap().to_str().unwrap() },
        ],
    });
    apply(cluster, &client("openai", None, &container));
    await_phase(cluster, "openai", "Succeeded");
    let told = cluster.kubectl(&["logs", "openai"]);
    eprintln!("  {}", told.lines().find(|line| line.starts_with("Ran ")).unwrap());
}
