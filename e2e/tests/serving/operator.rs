//! An operator that is killed while objects are applied: the next one ends where an undisturbed one does.

use std::ops::Range;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::crash::process_of;
use crate::objects::{object, of_disk};
use crate::support::{Cluster, await_until};

const NAMESPACE: &str = "killed";

/// So many that a kill finds some done, some begun and some not seen.
const OBJECTS: usize = 8;

/// Two, since the kubelet waits longer before each start.
const KILLS: u32 = 2;
/// From the beginning of `kubectl apply`, milliseconds.
const KILLED_AFTER: Range<u64> = 150..600;

const CHILDREN: &str = "deployments,services,configmaps,serviceaccounts,controllerrevisions";

pub(crate) fn kill(cluster: &Cluster, model: &Path) {
    let objects = objects(model);
    cluster.kubectl(&["create", "namespace", NAMESPACE]);
    cluster.apply(&objects);
    await_reconciled(cluster);
    let undisturbed = state(cluster);
    remove(cluster);
    for _ in 0..KILLS {
        let after_ms = any_of(KILLED_AFTER);
        let made = kill_while_applying(cluster, &objects, Duration::from_millis(after_ms));
        await_reconciled(cluster);
        let found = state(cluster);
        for (found, expected) in found.iter().zip(&undisturbed) {
            assert_eq!(found, expected);
        }
        assert_eq!(found.len(), undisturbed.len());
        let of = undisturbed.len() - OBJECTS;
        eprintln!("  killed after {after_ms} ms, when {made} of {of} children were there");
        remove(cluster);
    }
    let status = operator(cluster)["status"]["containerStatuses"][0].clone();
    assert_eq!(status["restartCount"], KILLS, "{status}");
}

/// At another moment in each run; what is printed tells which.
fn any_of(range: Range<u64>) -> u64 {
    let nanos = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
    range.start + nanos / 1000 % (range.end - range.start)
}

/// One with a pod, and others without, which take no time.
fn objects(model: &Path) -> Value {
    let items = (0..OBJECTS).map(|number| {
        let mut spec = of_disk(model);
        spec["replicas"] = json!(i32::from(number == 0));
        let mut object = object(&format!("object-{number}"), &spec);
        object["metadata"]["namespace"] = json!(NAMESPACE);
        object
    });
    json!({ "apiVersion": "v1", "kind": "List", "items": items.collect::<Vec<_>>() })
}

/// Returns how many children the killed one left.
fn kill_while_applying(cluster: &Cluster, objects: &Value, after: Duration) -> usize {
    let pid = process_of(&operator(cluster), "ostro-operator").expect("it runs on this machine").to_string();
    std::thread::scope(|scope| {
        let applied = scope.spawn(|| cluster.apply(objects));
        // The moment is what is tested: no condition tells it.
        std::thread::sleep(after);
        assert!(Command::new("kill").args(["-KILL", &pid]).status().unwrap().success());
        let made = children(cluster).len();
        // That the next one waits until it ends, `tests/operator` shows.
        cluster.kubectl(&["delete", "lease/ostro-operator", "--namespace", "ostro"]);
        applied.join().unwrap();
        made
    })
}

fn operator(cluster: &Cluster) -> Value {
    let mut pods = list(cluster, "pods", &["--namespace", "ostro"]);
    assert_eq!(pods.len(), 1, "{pods:#?}");
    pods.remove(0)
}

fn await_reconciled(cluster: &Cluster) {
    await_until("all objects to be reconciled", || {
        let objects = list(cluster, "infd", &["--namespace", NAMESPACE]);
        let ready = objects.iter().filter(|object| {
            let conditions = object["status"]["conditions"].as_array().into_iter().flatten();
            conditions.into_iter().any(|one| one["type"] == "Ready" && one["status"] == "True")
        });
        ready.count() == OBJECTS
    });
}

fn remove(cluster: &Cluster) {
    cluster.kubectl(&["delete", "infd", "--all", "--namespace", NAMESPACE]);
    await_until("children to go", || children(cluster).is_empty());
}

fn children(cluster: &Cluster) -> Vec<Value> {
    // Not what the namespace has by itself.
    list(
        cluster,
        CHILDREN,
        &["--namespace", NAMESPACE, "--selector", "app.kubernetes.io/managed-by=ostro-operator"],
    )
}

/// Objects with their conditions and children with their generations, without what differs each time.
fn state(cluster: &Cluster) -> Vec<Value> {
    let mut all = list(cluster, "infd", &["--namespace", NAMESPACE]);
    for object in &mut all {
        let conditions = object["status"]["conditions"].as_array().unwrap().iter();
        let told = conditions.map(|one| json!([one["type"], one["status"], one["reason"], one["message"]]));
        object["told"] = told.collect();
    }
    all.extend(children(cluster));
    all.iter_mut().for_each(strip);
    all
}

fn strip(object: &mut Value) {
    object.as_object_mut().unwrap().remove("status");
    if object["kind"] == "Service" {
        object["spec"]["clusterIP"].take();
        object["spec"]["clusterIPs"].take();
    }
    let metadata = object["metadata"].as_object_mut().unwrap();
    metadata.retain(|key, _| !["uid", "resourceVersion", "creationTimestamp"].contains(&key.as_str()));
    if let Some(annotations) = metadata.get_mut("annotations") {
        // Of all that was applied, the owner's uid among it.
        annotations.as_object_mut().unwrap().remove("inference.ostro.dev/applied-hash");
    }
    if let Some(owners) = metadata.get_mut("ownerReferences") {
        owners[0]["uid"].take();
    }
}

fn list(cluster: &Cluster, kinds: &str, words: &[&str]) -> Vec<Value> {
    let words = [&["get", kinds, "--output", "json"], words].concat();
    let list: Value = serde_json::from_str(&cluster.kubectl(&words)).unwrap();
    list["items"].as_array().unwrap().clone()
}
