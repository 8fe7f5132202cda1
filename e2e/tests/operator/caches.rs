//! Replicas with a cache each, and the way there and back.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Cluster, await_until};
use crate::{applies, await_leader, await_ready, check_idle, children, condition, get, manifest, start, up};

const CLASS: &str = "manual";

/// As many as claims may ask for; nobody provisions any here.
fn make_volumes(cluster: &Cluster, count: usize) {
    let volume = |number: usize| {
        json!({
            "apiVersion": "v1", "kind": "PersistentVolume", "metadata": { "name": format!("volume-{number}") },
            "spec": {
                "capacity": { "storage": "1Gi" }, "accessModes": ["ReadWriteOnce"], "storageClassName": CLASS,
                "hostPath": { "path": "/nowhere" },
            },
        })
    };
    let volumes: Vec<Value> = (0..count).map(volume).collect();
    cluster.apply(&json!({ "apiVersion": "v1", "kind": "List", "items": volumes }).to_string());
}

/// Names and identities of all claims.
fn claims(cluster: &Cluster) -> Vec<(String, String)> {
    let claims = get(cluster, "persistentvolumeclaims");
    let text = |claim: &Value, field: &str| claim["metadata"][field].as_str().unwrap().to_owned();
    let claims = claims["items"].as_array().unwrap().iter();
    claims.map(|claim| (text(claim, "name"), text(claim, "uid"))).collect()
}

fn with_volume(per_replica: bool) -> String {
    let volume = json!({ "size": "1Gi", "storageClassName": CLASS, "perReplica": per_replica });
    manifest("m", &json!({ "models": [{ "modelId": "a/b" }], "cache": { "volume": volume } }))
}

fn has(cluster: &Cluster, child: &str) -> bool {
    children(cluster, "m").iter().any(|found| found == child)
}

#[test]
fn replicas_keep_caches_of_their_own() {
    let Some(cluster) = up("test-stateful") else { return };
    let operator = start(&cluster, "first");
    let says = |reason: &str, words: &str| {
        condition(&cluster, "m", "Ready").is_some_and(|ready| {
            ready["reason"] == reason && ready["message"].as_str().unwrap().contains(words)
        })
    };
    cluster.kubectl(&["create", "quota", "none", "--hard=pods=0", "--namespace", "shop"]);
    cluster.apply(&with_volume(true));
    await_until("the quota to be named", || says("QuotaExceeded", "exceeded quota: none"));
    cluster.kubectl(&["delete", "quota", "none", "--namespace", "shop"]);
    await_until("the claim to be named", || says("PVCUnbound", "the claim cache-m-0 "));
    make_volumes(&cluster, 3);
    await_ready(&cluster, "m", "1/1");
    let set = get(&cluster, "statefulset/m");
    let owner = &set["metadata"]["ownerReferences"][0];
    assert_eq!((&owner["kind"], &owner["name"]), (&json!("InferenceDeployment"), &json!("m")));
    assert_eq!(set["spec"]["volumeClaimTemplates"].as_array().unwrap().len(), 1);
    assert_eq!(get(&cluster, "service/m-headless")["spec"]["clusterIP"], "None");
    cluster.kubectl(&["scale", "infd/m", "--replicas=2", "--namespace", "shop"]);
    await_ready(&cluster, "m", "2/2");
    let own = claims(&cluster);
    assert_eq!(own.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["cache-m-0", "cache-m-1"]);

    // Another reconcile, and another operator, find nothing to do.
    let before = applies(&cluster);
    cluster.kubectl(&["annotate", "infd/m", "look=again", "--namespace", "shop"]);
    std::thread::sleep(Duration::from_secs(3));
    operator.stop();
    let _operator = start(&cluster, "second");
    await_leader(&cluster, "second");
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(applies(&cluster), before);
    check_idle(&cluster, 20);

    cluster.apply(&with_volume(false));
    await_until("a Deployment", || {
        has(&cluster, "deployment.apps/m") && !has(&cluster, "statefulset.apps/m")
    });
    await_ready(&cluster, "m", "2/2");
    assert!(!has(&cluster, "service/m-headless") && has(&cluster, "persistentvolumeclaim/m-cache"));
    cluster.apply(&with_volume(true));
    await_until("a StatefulSet", || {
        has(&cluster, "statefulset.apps/m") && !has(&cluster, "deployment.apps/m")
    });
    await_ready(&cluster, "m", "2/2");

    cluster.kubectl(&["delete", "infd/m", "--namespace", "shop"]);
    // Only that which all shared goes with its object.
    await_until("the children to go", || {
        children(&cluster, "m") == ["persistentvolumeclaim/cache-m-0", "persistentvolumeclaim/cache-m-1"]
    });
    assert_eq!(claims(&cluster), own);
}
