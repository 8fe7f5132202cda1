//! The configuration of a node's programs. What differs from a usual node is said here, with the reason.

use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::images::PAUSE_IMAGE;
use super::network::{self, PODS, REGISTRY};

/// One node, from the number of which all follows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node<'a> {
    pub(super) index: u8,
    /// Its folder.
    pub(super) folder: &'a Path,
    pub(super) certificates: &'a Path,
}

/// The address of DNS in `dns.yaml`.
const DNS: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);

impl Node<'_> {
    pub(super) fn name(&self) -> String {
        format!("node{}", self.index)
    }

    /// Writes all files, and the folders that the programs write to.
    pub(super) fn write(&self) -> Result<()> {
        let registry = format!("registries/{REGISTRY}");
        for folder in
            ["root", "kubelet", "pki", "plugins", "containerd", "opt", "cni", &registry, "log", "data"]
        {
            let folder = self.folder.join(folder);
            std::fs::create_dir_all(&folder)
                .with_context(|| format!("cannot create {}", folder.display()))?;
        }
        for (name, text) in [
            ("containerd.toml", self.containerd()),
            ("cni/10-ptp.conflist", format!("{:#}", self.pod_network())),
            (&format!("{registry}/hosts.toml"), format!("[host.\"http://{REGISTRY}\"]\n")),
            ("kubelet.json", format!("{:#}", self.kubelet())),
            ("proxy.json", format!("{:#}", self.proxy())),
            ("hosts", format!("127.0.0.1 localhost\n{} {}\n", network::address(self.index), self.name())),
            // Pods of the host's network find no name server, rather than the machine's.
            ("resolv.conf", String::new()),
            ("node.sh", include_str!("node.sh").to_owned()),
        ] {
            let path = self.folder.join(name);
            std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(())
    }

    fn path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    fn containerd(&self) -> String {
        let (root, opt, network) = (self.path("containerd"), self.path("opt"), self.path("cni"));
        let registries = self.path("registries");
        format!(
            r#"version = 3
root = "{root}"
state = "/run/containerd"

[grpc]
address = "/run/containerd/containerd.sock"

[plugins.'io.containerd.internal.v1.opt']
path = "{opt}"

# Its folders are of the machine.
[plugins.'io.containerd.nri.v1.nri']
disable = true

[plugins.'io.containerd.cri.v1.images'.pinned_images]
sandbox = "{PAUSE_IMAGE}"

[plugins.'io.containerd.cri.v1.images'.registry]
config_path = "{registries}"

[plugins.'io.containerd.cri.v1.runtime']
# To lower a score takes a capability that a container of a machine may lack.
restrict_oom_score_adj = true

[plugins.'io.containerd.cri.v1.runtime'.cni]
bin_dirs = ["/usr/lib/cni"]
conf_dir = "{network}"

[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
"#
        )
    }

    fn pod_network(&self) -> Value {
        json!({
            "cniVersion": "1.0.0",
            "name": "pods",
            "plugins": [
                // All packets are routed, also between pods of one node: where they meet on a bridge, rules apply to
                // them only if the kernel has br_netfilter.
                {
                    "type": "ptp", "ipMasq": false,
                    "ipam": {
                        "type": "host-local",
                        "ranges": [[{"subnet": network::pods(self.index)}]],
                        "routes": [{"dst": "0.0.0.0/0"}],
                        "dataDir": "/run/cni",
                    },
                },
                {"type": "portmap", "capabilities": {"portMappings": true}},
                {"type": "loopback"},
            ],
        })
    }

    fn kubelet(&self) -> Value {
        json!({
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "authentication": {
                "anonymous": {"enabled": false},
                "webhook": {"enabled": true},
                "x509": {"clientCAFile": self.certificates.join("ca.crt")},
            },
            "authorization": {"mode": "Webhook"},
            "clusterDNS": [DNS],
            "clusterDomain": "cluster.local",
            "resolvConf": self.path("resolv.conf"),
            "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
            "volumePluginDir": self.path("plugins"),
            // The machine may have no systemd, swap, and the older control groups.
            "cgroupDriver": "cgroupfs",
            "failSwapOn": false,
            "failCgroupV1": false,
            // More than the machine allows is refused.
            "oomScoreAdj": 0,
            "maxOpenFiles": 20000,
            // The disk is the machine's: its fullness is not the node's, and images are not to be had again.
            "imageGCHighThresholdPercent": 100,
            "evictionHard": {"memory.available": "50Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        })
    }

    fn proxy(&self) -> Value {
        json!({
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": "nftables",
            "clusterCIDR": PODS,
            "clientConnection": {"kubeconfig": self.certificates.join("proxy.conf")},
            "hostnameOverride": self.name(),
            "oomScoreAdj": 0,
            // These settings are of the whole machine, and refused to a namespace.
            "conntrack": {
                "maxPerCore": 0, "min": 0,
                "tcpCloseWaitTimeout": "0s", "tcpEstablishedTimeout": "0s",
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_a_node_stay_in_its_folder() {
        let folder = tempfile::TempDir::new().unwrap();
        let node = Node { index: 2, folder: folder.path(), certificates: Path::new("/c") };
        node.write().unwrap();
        let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
        let own = folder.path().display().to_string();
        assert!(read("containerd.toml").contains(&format!("root = \"{own}/containerd\"\n")));
        assert!(read("containerd.toml").contains("sandbox = \"registry.local/pause:1\"\n"));
        assert!(read("containerd.toml").contains(&format!("config_path = \"{own}/registries\"\n")));
        assert_eq!(read("registries/10.99.0.1:5000/hosts.toml"), "[host.\"http://10.99.0.1:5000\"]\n");
        assert_eq!(read("hosts"), "127.0.0.1 localhost\n198.51.100.12 node2\n");
        let json = |name: &str| serde_json::from_str::<Value>(&read(name)).unwrap();
        assert_eq!(json("kubelet.json")["resolvConf"], format!("{own}/resolv.conf"));
        assert_eq!(json("kubelet.json")["clusterDNS"][0], "10.96.0.10");
        assert_eq!(json("proxy.json")["hostnameOverride"], "node2");
        let network = json("cni/10-ptp.conflist");
        assert_eq!(network["plugins"][0]["ipam"]["ranges"][0][0]["subnet"], "10.88.2.0/24");
    }

    #[test]
    fn dns_is_where_pods_ask_it() {
        let dns = include_str!("dns.yaml");
        assert!(dns.contains(&format!("clusterIP: {DNS}\n")));
        assert!(dns.contains(&format!("image: {}\n", super::super::images::COREDNS_IMAGE)));
        let (_, server) = dns.split_once(".:53 {\n").unwrap();
        let (plugins, _) = server.split_once('}').unwrap();
        let built = super::super::modules::COREDNS.main.unwrap();
        for plugin in plugins.lines().filter_map(|line| line.split_whitespace().next()) {
            assert!(built.contains(&format!("coredns/plugin/{plugin}\"\n")), "{plugin} is not built");
        }
    }
}
