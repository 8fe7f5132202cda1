//! The first object that the documentation applies, as it is written there.

use std::time::Instant;

use serde_json::json;

use crate::hub;
use crate::objects::{await_ready, get, ready_condition};
use crate::refusals::LIMIT;
use crate::support::{Cluster, await_until};

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/examples/smollm2.yaml");

/// Without a hub the status says so; with one it downloads.
pub(crate) fn check(cluster: &Cluster) {
    cluster.kubectl(&["apply", "-f", EXAMPLE]);
    let start = Instant::now();
    await_until("the status to name the hub", || {
        ready_condition(cluster, "smollm2").is_some_and(|ready| ready["reason"] == "HubUnreachable")
    });
    let took = start.elapsed();
    eprintln!("  HubUnreachable after {:.1} s", took.as_secs_f64());
    assert!(took < LIMIT, "{took:?}");
    let hub = hub::start(cluster);
    let patch = json!({ "spec": { "env": hub.environment() } }).to_string();
    cluster.kubectl(&["patch", "infd/smollm2", "--type", "merge", "--patch", &patch]);
    await_ready(cluster, "smollm2");
    let models = get(cluster, &["infd/smollm2"])["status"]["models"].clone();
    assert_eq!((&models[0]["id"], &models[0]["state"]), (&json!(hub::MODEL), &json!("Loaded")), "{models}");
    cluster.kubectl(&["delete", "-f", EXAMPLE]);
}
