//! The programs of a cluster, all from the one Go module in `e2e/go`, which pins them.
//!
//! Its `go.mod` is the only place of a version, and its `go.sum` holds every source to a hash. It is one module so that
//! what the programs share has one version, and is compiled once. To move to another version: edit `go.mod`, run
//! `go mod tidy` beside it, `ostro-e2e cluster build`.

use sha2::{Digest, Sha256};

macro_rules! source {
    ($file:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/go/", $file))
    };
}

pub(super) const GO_MOD: &str = source!("go.mod");
pub(super) const GO_SUM: &str = source!("go.sum");

/// A required module, or a program of our own, and what is built from it.
pub(super) struct Module {
    pub(super) name: &'static str,
    /// The module whose version counts.
    path: &'static str,
    /// Each program's file name and its package.
    pub(super) programs: &'static [(&'static str, &'static str)],
    pub(super) tags: &'static str,
    /// Of a program of our own, which is the package in the folder of its name: its source.
    pub(super) main: Option<&'static str>,
}

pub(super) const KUBERNETES: Module = Module {
    name: "kubernetes",
    path: "k8s.io/kubernetes",
    programs: &[
        ("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver"),
        ("kube-controller-manager", "k8s.io/kubernetes/cmd/kube-controller-manager"),
        ("kube-scheduler", "k8s.io/kubernetes/cmd/kube-scheduler"),
        ("kubelet", "k8s.io/kubernetes/cmd/kubelet"),
        ("kube-proxy", "k8s.io/kubernetes/cmd/kube-proxy"),
        ("kubectl", "k8s.io/kubernetes/cmd/kubectl"),
    ],
    // As the release does, but for what is only of use in public clouds.
    tags: "selinux,notest,grpcnotrace",
    main: None,
};

pub(super) const ETCD: Module = Module {
    name: "etcd",
    path: "go.etcd.io/etcd/server/v3",
    programs: &[("etcd", "go.etcd.io/etcd/server/v3")],
    tags: "",
    main: None,
};

pub(super) const HELM: Module = Module {
    name: "helm",
    path: "helm.sh/helm/v4",
    programs: &[("helm", "helm.sh/helm/v4/cmd/helm")],
    tags: "",
    main: None,
};

/// Simulates nodes and pods.
pub(super) const KWOK: Module = Module {
    name: "kwok",
    path: "sigs.k8s.io/kwok",
    programs: &[("kwok", "sigs.k8s.io/kwok/cmd/kwok")],
    tags: "",
    main: None,
};

pub(super) const CONTAINERD: Module = Module {
    name: "containerd",
    path: "github.com/containerd/containerd/v2",
    programs: &[
        ("containerd", "github.com/containerd/containerd/v2/cmd/containerd"),
        ("containerd-shim-runc-v2", "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2"),
        ("ctr", "github.com/containerd/containerd/v2/cmd/ctr"),
    ],
    tags: "",
    main: None,
};

pub(super) const COREDNS: Module = Module {
    name: "coredns",
    path: "github.com/coredns/coredns",
    programs: &[("coredns", "./coredns")],
    tags: "",
    main: Some(source!("coredns/main.go")),
};

/// Holds pods to NetworkPolicies, by iptables and ipset. kube-network-policies of the Kubernetes project would do so by
/// rules that lead to user space, which not every kernel has (`CONFIG_NFT_QUEUE`).
pub(super) const KUBE_ROUTER: Module = Module {
    name: "kube-router",
    path: "github.com/cloudnativelabs/kube-router/v2",
    programs: &[("kube-router", "github.com/cloudnativelabs/kube-router/v2/cmd/kube-router")],
    tags: "",
    main: None,
};

/// Turns monitors into a Prometheus' configuration; by `crds` it prints its API.
pub(super) const PROMETHEUS_OPERATOR: Module = Module {
    name: "prometheus-operator",
    path: "github.com/prometheus-operator/prometheus-operator",
    programs: &[("prometheus-operator", "github.com/prometheus-operator/prometheus-operator/cmd/operator")],
    tags: "",
    main: None,
};

/// Debian's package cannot discover what a Kubernetes has, so it reads no configuration of the Prometheus operator.
pub(super) const PROMETHEUS: Module = Module {
    name: "prometheus",
    path: "github.com/prometheus/prometheus",
    programs: &[
        ("prometheus", "github.com/prometheus/prometheus/cmd/prometheus"),
        ("promtool", "github.com/prometheus/prometheus/cmd/promtool"),
    ],
    // Of some 25 sources of targets, most of which are public clouds, the one that is used.
    tags: "remove_all_sd,enable_kubernetes_sd",
    main: None,
};

/// Signs images, and pushes them.
pub(super) const COSIGN: Module = Module {
    name: "cosign",
    path: "github.com/sigstore/cosign/v3",
    programs: &[
        ("cosign", "github.com/sigstore/cosign/v3/cmd/cosign"),
        ("crane", "github.com/google/go-containerregistry/cmd/crane"),
    ],
    tags: "",
    main: None,
};

/// A registry that asks for a password, for images that pods are to pull.
pub(super) const REGISTRY: Module = Module {
    name: "registry",
    path: "github.com/google/go-containerregistry",
    programs: &[("registry", "./registry")],
    tags: "",
    main: Some(source!("registry/main.go")),
};

/// The process that holds a pod's namespaces.
pub(super) const PAUSE: Module = Module {
    name: "pause",
    path: "",
    programs: &[("pause", "./pause")],
    tags: "",
    main: Some(source!("pause/main.go")),
};

/// What a control plane with simulated nodes takes.
pub(super) const CONTROL_PLANE: [&Module; 4] = [&ETCD, &KUBERNETES, &KWOK, &HELM];

/// What nodes take beside it.
pub(super) const NODES: [&Module; 4] = [&CONTAINERD, &COREDNS, &KUBE_ROUTER, &PAUSE];

/// What tests of monitors take beside it.
pub(super) const MONITORING: [&Module; 2] = [&PROMETHEUS_OPERATOR, &PROMETHEUS];

/// What publishing images takes, without a cluster.
pub(super) const SIGNING: [&Module; 1] = [&COSIGN];

/// What tests of pods that pull their images take beside nodes.
pub(super) const PULLING: [&Module; 2] = [&COSIGN, &REGISTRY];

impl Module {
    /// Such as `v1.36.3`; empty where nothing is required.
    pub(super) fn version(&self) -> &'static str {
        let mut lines = GO_MOD.lines().map(str::trim);
        let version = lines.find_map(|line| line.strip_prefix(self.path)?.strip_prefix(' '));
        version.and_then(|rest| rest.split_whitespace().next()).unwrap_or("")
    }

    /// Name, version and a digest of all that the build depends on.
    pub(super) fn key(&self) -> String {
        let mut hash = Sha256::new();
        for part in [GO_MOD, GO_SUM, self.main.unwrap_or_default(), self.tags, &self.link_flags()] {
            hash.update(part);
            hash.update([0]);
        }
        let digest = hash.finalize();
        let [a, b, c, d] = [digest[0], digest[1], digest[2], digest[3]];
        let version = if self.version().is_empty() { String::new() } else { format!("-{}", self.version()) };
        format!("{}{version}-{a:02x}{b:02x}{c:02x}{d:02x}", self.name)
    }

    /// Kubernetes reads its version from variables that the linker sets; clients depend on it.
    pub(super) fn link_flags(&self) -> String {
        let mut flags = "-s -w".to_owned();
        if self.name == KUBERNETES.name {
            let version = self.version();
            let minor = version.split('.').nth(1).unwrap_or_default();
            for package in ["k8s.io/component-base/version", "k8s.io/client-go/pkg/version"] {
                for (variable, value) in [
                    ("gitVersion", version),
                    ("gitMajor", "1"),
                    ("gitMinor", minor),
                    ("gitTreeState", "clean"),
                    ("buildDate", "1970-01-01T00:00:00Z"),
                ] {
                    flags.push_str(&format!(" -X {package}.{variable}={value}"));
                }
            }
        }
        flags
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_come_from_what_is_required() {
        assert_eq!(KUBERNETES.version(), "v1.36.3");
        let all = CONTROL_PLANE.iter().chain(&NODES).chain(&MONITORING).chain(&PULLING);
        for module in all.filter(|module| !module.path.is_empty()) {
            assert!(module.version().starts_with('v'), "{}: {:?}", module.name, module.version());
            // All that a program is made of is held to a hash.
            let sum = format!("{} {} h1:", module.path, module.version());
            assert!(GO_SUM.contains(&sum), "{}: no {sum}", module.name);
        }
        assert_eq!(PAUSE.version(), "");
    }

    #[test]
    fn a_key_names_version_and_contents() {
        let key = KUBERNETES.key();
        assert!(key.starts_with("kubernetes-v1.36.3-"), "{key}");
        let changed = Module { tags: "", ..KUBERNETES };
        assert_ne!(changed.key(), key);
        assert!(PAUSE.key().starts_with("pause-"));
    }

    #[test]
    fn kubernetes_knows_its_version() {
        let flags = KUBERNETES.link_flags();
        assert!(flags.contains("-X k8s.io/component-base/version.gitVersion=v1.36.3 "), "{flags}");
        assert!(flags.contains("-X k8s.io/client-go/pkg/version.gitMinor=36 "), "{flags}");
        assert_eq!(ETCD.link_flags(), "-s -w");
    }
}
