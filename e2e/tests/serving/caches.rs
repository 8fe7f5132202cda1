//! Every kind of cache in running pods: a Job downloads into one, and all pods find what it has left.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use ostro_e2e::image::{self, Architecture, Image, Layer};
use serde_json::{Value, json};

use crate::hub::{self, MODEL};
use crate::objects::{await_ready, get, object, pods, ready_condition};
use crate::support::{Cluster, await_until};

const CLASS: &str = "of-a-disk";
const IMAGE: &str = "registry.local/models:1";
/// Of pods that do not run as root.
const GROUP: u32 = 65532;

pub(crate) fn check(cluster: &Cluster) {
    // Nodes have temporary folders of their own.
    let folder = tempfile::tempdir_in(cluster.folder()).unwrap();
    cluster.apply(&volume(folder.path()));
    let claim = json!({ "volume": { "size": "1Gi", "storageClassName": CLASS }, "prefetch": true });
    let hub = hub::start(cluster);
    let mut filled = spec(&claim, &hub.environment());
    // No pod of it is there to download.
    filled["replicas"] = 0.into();
    cluster.apply(&object("filled", &filled));
    await_ready(cluster, "filled");
    drop(hub);
    let snapshots = snapshots(folder.path());
    assert_eq!(snapshots.metadata().unwrap().gid(), GROUP, "fsGroup has not reached the volume");

    // Without a hub: by another pod of the same object, by another object, from the node's disk, and from an image.
    let offline = json!([{ "name": "HF_HUB_OFFLINE", "value": "1" }]);
    cluster.apply(&object("filled", &spec(&claim, &offline)));
    load_image(cluster, folder.path());
    for (name, cache) in [
        ("of-claim", json!({ "existingClaim": { "name": "filled-cache" } })),
        ("of-disk", json!({ "hostPath": { "path": folder.path(), "type": "Directory" } })),
        ("of-image", json!({ "image": { "reference": IMAGE, "pullPolicy": "Never" } })),
    ] {
        cluster.apply(&object(name, &spec(&cache, &offline)));
    }
    for name in ["filled", "of-claim", "of-disk", "of-image"] {
        await_ready(cluster, name);
    }
    pods_serve_while_a_download_fails(cluster, &spec(&claim, &offline));
    what_nobody_needs_is_removed(cluster, folder.path(), &offline);
    cluster.kubectl(&["delete", "infd/filled", "infd/of-claim", "infd/of-disk", "infd/of-image"]);
    await_until("pods to leave the volume", || {
        let label = "app.kubernetes.io/instance in (filled, of-claim, of-disk, of-image)";
        cluster.kubectl(&["get", "pods", "--selector", label, "--output", "name"]).is_empty()
    });
    cluster.kubectl(&["delete", "persistentvolume/disk"]);
}

fn pods_serve_while_a_download_fails(cluster: &Cluster, working: &Value) {
    let before = pods(cluster, "filled")[0]["metadata"]["uid"].clone();
    let hub = hub::start(cluster);
    let mut failing = working.clone();
    failing["models"] = json!([{ "modelId": "nobody/nothing" }]);
    failing["env"] = hub.environment();
    cluster.apply(&object("filled", &failing));
    await_until("the model that is nowhere to be told", || {
        ready_condition(cluster, "filled").is_some_and(|ready| ready["reason"] == "ModelNotFound")
    });
    let deployment = get(cluster, &["deployment", "filled"]);
    assert_eq!(deployment["status"]["readyReplicas"], 1);
    assert_eq!(get(cluster, &["jobs"])["items"].as_array().unwrap().len(), 1);
    cluster.apply(&object("filled", working));
    await_ready(cluster, "filled");
    let is_gone = || get(cluster, &["jobs"])["items"].as_array().unwrap().is_empty();
    await_until("the Job to be pruned", is_gone);
    let uids: Vec<Value> = pods(cluster, "filled").iter().map(|pod| pod["metadata"]["uid"].clone()).collect();
    assert!(uids.contains(&before), "{uids:?} have not been there before");
}

fn what_nobody_needs_is_removed(cluster: &Cluster, folder: &Path, offline: &Value) {
    let old = folder.join("hub/models--some--model");
    let blobs = old.join("blobs");
    std::fs::create_dir_all(&blobs).unwrap();
    std::fs::write(blobs.join("a"), "of a spec of before").unwrap();
    for path in [&old, &blobs] {
        std::os::unix::fs::chown(path, Some(GROUP), Some(GROUP)).unwrap();
    }
    let claim = json!({ "volume": { "size": "1Gi", "storageClassName": CLASS }, "prune": true });
    cluster.apply(&object("filled", &spec(&claim, offline)));
    await_until("the cache to be pruned", || {
        let object = get(cluster, &["infd", "filled"]);
        let conditions = object["status"]["conditions"].as_array().unwrap().iter();
        conditions.filter(|one| one["type"] == "CachePruned").any(|pruned| pruned["status"] == "True")
    });
    assert!(!old.exists() && snapshots(folder).exists());
    await_ready(cluster, "filled");
}

fn spec(cache: &Value, environment: &Value) -> Value {
    json!({
        "models": [{ "modelId": MODEL }],
        "pagedAttn": { "contextLen": 256 },
        "cache": cache,
        "env": environment,
    })
}

/// A disk of the first node: of this kind of volume a kubelet gives the group what it mounts.
fn volume(folder: &Path) -> Value {
    let node = json!({ "matchExpressions": [{ "key": "kubernetes.io/hostname", "operator": "In", "values": ["node1"] }] });
    json!({
        "apiVersion": "v1", "kind": "PersistentVolume", "metadata": { "name": "disk" },
        "spec": {
            "capacity": { "storage": "1Gi" }, "accessModes": ["ReadWriteOnce"], "storageClassName": CLASS,
            "persistentVolumeReclaimPolicy": "Retain", "local": { "path": folder },
            "nodeAffinity": { "required": { "nodeSelectorTerms": [node] } },
        },
    })
}

/// Of the model in the cache, as hub libraries lay it out.
fn snapshots(home: &Path) -> PathBuf {
    let folder = home.join("hub").join(format!("models--{}", MODEL.replace('/', "--"))).join("snapshots");
    assert!(folder.is_dir(), "{} is not there", folder.display());
    folder
}

/// An image that holds the cache, and nothing that runs.
fn load_image(cluster: &Cluster, home: &Path) {
    let mut layer = Layer::default();
    layer.copy_folder(&home.join("hub"), "/hub", |_| true).unwrap();
    let image = Image {
        architecture: Architecture::NATIVE,
        name: IMAGE.to_owned(),
        layer,
        entrypoint: Vec::new(),
        arguments: Vec::new(),
        environment: Vec::new(),
        user: String::new(),
    };
    let archive = tempfile::NamedTempFile::new().unwrap();
    image::write(archive.path(), &[image]).unwrap();
    cluster.run(&["load", archive.path().to_str().unwrap()]);
}
