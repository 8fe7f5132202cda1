//! Deletion of an object leaves nothing that bears its label.

use crate::support::{Cluster, await_until};

pub(crate) fn check(cluster: &Cluster) {
    cluster.kubectl(&["delete", "infd/chat"]);
    await_until("all of it to go", || {
        let kinds = "deployments,replicasets,pods,services,configmaps,serviceaccounts";
        let words = ["get", kinds, "--selector", "app.kubernetes.io/instance=chat", "--output", "name"];
        cluster.kubectl(&words).is_empty()
    });
}
