//! Deletion of objects leaves nothing of any kind that bears their label.

use crate::support::{Cluster, await_until};

pub(crate) fn check(cluster: &Cluster) {
    let kinds = cluster.kubectl(&["api-resources", "--namespaced", "--verbs=list", "--output", "name"]);
    let kinds = kinds.lines().collect::<Vec<_>>().join(",");
    let found = || {
        let label = "app.kubernetes.io/managed-by=ostro-operator";
        let words = ["get", &kinds, "--all-namespaces", "--selector", label, "--output", "name"];
        cluster.kubectl(&words)
    };
    let before = found();
    for kind in ["pod/", "service/", "deployment.apps/", "replicaset.apps/", "configmap/", "serviceaccount/"]
    {
        assert!(before.contains(kind), "no {kind} in {before}");
    }
    assert!(before.contains("persistentvolumeclaim/"), "{before}");
    assert!(before.contains("poddisruptionbudget.policy/") && before.contains("endpointslice"), "{before}");
    cluster.kubectl(&["delete", "infd", "--all", "--wait=false"]);
    await_until("all of them to go", || found().is_empty());
    assert_eq!(cluster.kubectl(&["get", "infd", "--output", "name"]), "");
}
