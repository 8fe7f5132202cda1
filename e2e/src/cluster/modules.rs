//! The programs of a cluster, each from a Go module that a wrapper module in `e2e/go` pins.
//!
//! A wrapper's `go.mod` is the only place of a version and its `go.sum` holds every source to a hash. To move to
//! another version: edit the wrapper's `go.mod`, run `go mod tidy` beside it, `ostro-e2e cluster build`.

use sha2::{Digest, Sha256};

/// One wrapper module, and the programs that are built from it.
pub(super) struct Module {
    /// The folder in `e2e/go`.
    pub(super) name: &'static str,
    /// The module whose version counts; empty where the wrapper is the program itself.
    path: &'static str,
    /// Each program's file name and its package.
    pub(super) programs: &'static [(&'static str, &'static str)],
    pub(super) tags: &'static str,
    pub(super) go_mod: &'static str,
    pub(super) go_sum: &'static str,
    /// Source of the wrapper itself.
    pub(super) main: Option<&'static str>,
}

macro_rules! wrapper {
    ($folder:literal, $file:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/go/", $folder, "/", $file))
    };
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
    go_mod: wrapper!("kubernetes", "go.mod"),
    go_sum: wrapper!("kubernetes", "go.sum"),
    main: None,
};

pub(super) const ETCD: Module = Module {
    name: "etcd",
    path: "go.etcd.io/etcd/server/v3",
    programs: &[("etcd", "go.etcd.io/etcd/server/v3")],
    tags: "",
    go_mod: wrapper!("etcd", "go.mod"),
    go_sum: wrapper!("etcd", "go.sum"),
    main: None,
};

pub(super) const HELM: Module = Module {
    name: "helm",
    path: "helm.sh/helm/v4",
    programs: &[("helm", "helm.sh/helm/v4/cmd/helm")],
    tags: "",
    go_mod: wrapper!("helm", "go.mod"),
    go_sum: wrapper!("helm", "go.sum"),
    main: None,
};

/// Simulates nodes and pods.
pub(super) const KWOK: Module = Module {
    name: "kwok",
    path: "sigs.k8s.io/kwok",
    programs: &[("kwok", "sigs.k8s.io/kwok/cmd/kwok")],
    tags: "",
    go_mod: wrapper!("kwok", "go.mod"),
    go_sum: wrapper!("kwok", "go.sum"),
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
    go_mod: wrapper!("containerd", "go.mod"),
    go_sum: wrapper!("containerd", "go.sum"),
    main: None,
};

pub(super) const COREDNS: Module = Module {
    name: "coredns",
    path: "github.com/coredns/coredns",
    programs: &[("coredns", ".")],
    tags: "",
    go_mod: wrapper!("coredns", "go.mod"),
    go_sum: wrapper!("coredns", "go.sum"),
    main: Some(wrapper!("coredns", "main.go")),
};

/// Holds pods to NetworkPolicies, by iptables and ipset. kube-network-policies of the Kubernetes project would do so by
/// rules that lead to user space, which not every kernel has (`CONFIG_NFT_QUEUE`).
pub(super) const KUBE_ROUTER: Module = Module {
    name: "kube-router",
    path: "github.com/cloudnativelabs/kube-router/v2",
    programs: &[("kube-router", "github.com/cloudnativelabs/kube-router/v2/cmd/kube-router")],
    tags: "",
    go_mod: wrapper!("kube-router", "go.mod"),
    go_sum: wrapper!("kube-router", "go.sum"),
    main: None,
};

/// Turns monitors into a Prometheus' configuration; by `crds` it prints its API.
pub(super) const PROMETHEUS_OPERATOR: Module = Module {
    name: "prometheus-operator",
    path: "github.com/prometheus-operator/prometheus-operator",
    programs: &[("prometheus-operator", "github.com/prometheus-operator/prometheus-operator/cmd/operator")],
    tags: "",
    go_mod: wrapper!("prometheus-operator", "go.mod"),
    go_sum: wrapper!("prometheus-operator", "go.sum"),
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
    go_mod: wrapper!("prometheus", "go.mod"),
    go_sum: wrapper!("prometheus", "go.sum"),
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
    go_mod: wrapper!("cosign", "go.mod"),
    go_sum: wrapper!("cosign", "go.sum"),
    main: None,
};

/// A registry that asks for a password, for images that pods are to pull.
pub(super) const REGISTRY: Module = Module {
    name: "registry",
    path: "github.com/google/go-containerregistry",
    programs: &[("registry", ".")],
    tags: "",
    go_mod: wrapper!("registry", "go.mod"),
    go_sum: wrapper!("registry", "go.sum"),
    main: Some(wrapper!("registry", "main.go")),
};

/// The process that holds a pod's namespaces.
pub(super) const PAUSE: Module = Module {
    name: "pause",
    path: "",
    programs: &[("pause", ".")],
    tags: "",
    go_mod: wrapper!("pause", "go.mod"),
    go_sum: "",
    main: Some(wrapper!("pause", "main.go")),
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
    /// Such as `v1.36.3`; empty for a wrapper that is the program itself.
    pub(super) fn version(&self) -> &'static str {
        let mut lines = self.go_mod.lines().map(|line| line.trim().trim_start_matches("require "));
        let version = lines.find_map(|line| line.strip_prefix(self.path)?.strip_prefix(' '));
        version
            .and_then(|rest| rest.split_whitespace().next())
            .filter(|version| *version != "=>")
            .unwrap_or("")
    }

    /// Name, version and a digest of all that the build depends on.
    pub(super) fn key(&self) -> String {
        let mut hash = Sha256::new();
        for part in [self.go_mod, self.go_sum, self.main.unwrap_or_default(), self.tags, &self.link_flags()] {
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
    fn versions_come_from_the_wrappers() {
        assert_eq!(KUBERNETES.version(), "v1.36.3");
        let all = CONTROL_PLANE.iter().chain(&NODES).chain(&MONITORING).chain(&PULLING);
        for module in all.filter(|module| !module.path.is_empty()) {
            assert!(module.version().starts_with('v'), "{}: {:?}", module.name, module.version());
            // All that a program is made of is held to a hash.
            let sum = format!("{} {} h1:", module.path, module.version());
            assert!(module.go_sum.contains(&sum), "{}: no {sum}", module.name);
        }
        assert_eq!(PAUSE.version(), "");
    }

    #[test]
    fn a_key_names_version_and_contents() {
        let key = KUBERNETES.key();
        assert!(key.starts_with("kubernetes-v1.36.3-"), "{key}");
        let changed = Module { go_sum: "", ..KUBERNETES };
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
