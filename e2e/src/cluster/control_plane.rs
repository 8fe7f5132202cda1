//! The control plane's programs and their arguments: etcd, API server, controllers, scheduler, and KWOK where
//! nodes are simulated.

use std::net::{Ipv4Addr, SocketAddrV4};

use anyhow::Result;

use super::folders::Folders;
use super::state::Shape;
use crate::process::free_ports;

/// Services have addresses of this range; `dns.yaml` and the API server's certificate name two of them.
pub(super) const SERVICES: &str = "10.96.0.0/16";

/// Where the programs listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Addresses {
    pub(super) api: SocketAddrV4,
    etcd_port: u16,
    etcd_peer_port: u16,
}

impl Addresses {
    /// In a network namespace of our own every port is free.
    pub(super) fn of_namespace(gateway: Ipv4Addr) -> Addresses {
        Addresses { api: SocketAddrV4::new(gateway, 6443), etcd_port: 2379, etcd_peer_port: 2380 }
    }

    /// Ports of loopback that nothing uses now.
    pub(super) fn of_loopback() -> Result<Addresses> {
        let [api, etcd_port, etcd_peer_port] = free_ports()?;
        Ok(Addresses { api: SocketAddrV4::new(Ipv4Addr::LOCALHOST, api), etcd_port, etcd_peer_port })
    }

    fn etcd(&self) -> String {
        format!("http://127.0.0.1:{}", self.etcd_port)
    }
}

/// A program to start: its name, which is its log's name too, and its arguments.
pub(super) type Start = (&'static str, Vec<String>);

pub(super) fn etcd(folders: &Folders, addresses: &Addresses) -> Start {
    let (client, peer) = (addresses.etcd(), format!("http://127.0.0.1:{}", addresses.etcd_peer_port));
    let arguments = vec![
        flag("data-dir", folders.run.join("etcd").display()),
        flag("listen-client-urls", &client),
        flag("advertise-client-urls", &client),
        flag("listen-peer-urls", &peer),
        flag("initial-advertise-peer-urls", &peer),
        flag("initial-cluster", format!("default={peer}")),
        // What is lost with the machine's power is not worth the disk's time.
        "--unsafe-no-fsync".to_owned(),
    ];
    ("etcd", arguments)
}

pub(super) fn api_server(folders: &Folders, addresses: &Addresses, shape: Shape) -> Start {
    let certificates = folders.certificates();
    let file = |name: &str| certificates.join(name).display().to_string();
    let mut arguments = vec![
        flag("etcd-servers", addresses.etcd()),
        flag("bind-address", addresses.api.ip()),
        flag("secure-port", addresses.api.port()),
        flag("advertise-address", addresses.api.ip()),
        flag("service-cluster-ip-range", SERVICES),
        flag("tls-cert-file", file("api.crt")),
        flag("tls-private-key-file", file("api.key")),
        flag("client-ca-file", file("ca.crt")),
        flag("authorization-mode", "Node,RBAC"),
        flag("enable-admission-plugins", "NodeRestriction"),
        flag("kubelet-client-certificate", file("kubelet-client.crt")),
        flag("kubelet-client-key", file("kubelet-client.key")),
        // Names of nodes are in no DNS.
        flag("kubelet-preferred-address-types", "InternalIP"),
        flag("service-account-key-file", file("service-accounts.pub")),
        flag("service-account-signing-key-file", file("service-accounts.key")),
        flag("service-account-issuer", "https://kubernetes.default.svc"),
        flag("allow-privileged", true),
    ];
    if let Shape::ControlPlane { .. } = shape {
        // A service cannot lead to loopback, and no pod is there to ask.
        arguments.push(flag("endpoint-reconciler-type", "none"));
    }
    ("kube-apiserver", arguments)
}

pub(super) fn controllers(folders: &Folders, shape: Shape) -> Start {
    let certificates = folders.certificates();
    let silence = match shape {
        // Simulated nodes never die, and say nothing after their first word.
        Shape::ControlPlane { .. } => "24h",
        // A node that dies is noticed soon: tests wait for it.
        Shape::Nodes { .. } => "20s",
    };
    let arguments = vec![
        flag("kubeconfig", certificates.join("controllers.conf").display()),
        flag("service-account-private-key-file", certificates.join("service-accounts.key").display()),
        flag("root-ca-file", certificates.join("ca.crt").display()),
        "--use-service-account-credentials".to_owned(),
        // Made at its start; by default in the machine's /usr.
        flag("flex-volume-plugin-dir", folders.run.join("plugins").display()),
        flag("node-monitor-grace-period", silence),
        ALONE.to_owned(),
        NOT_SERVING.to_owned(),
    ];
    let arguments = arguments.into_iter().chain(UNTHROTTLED.map(str::to_owned)).collect();
    ("kube-controller-manager", arguments)
}

pub(super) fn scheduler(folders: &Folders) -> Start {
    let kubeconfig = folders.certificates().join("scheduler.conf");
    let own = [flag("kubeconfig", kubeconfig.display()), ALONE.to_owned(), NOT_SERVING.to_owned()];
    let arguments = own.into_iter().chain(UNTHROTTLED.map(str::to_owned)).collect();
    ("kube-scheduler", arguments)
}

/// Plays the kubelet of every node: pods run at once, in name only.
pub(super) fn simulator(folders: &Folders) -> Start {
    let arguments = vec![
        flag("kubeconfig", folders.kubeconfig().display()),
        flag("config", folders.stages().display()),
        flag("manage-all-nodes", true),
        flag("cidr", "10.88.0.1/24"),
        flag("node-ip", Ipv4Addr::LOCALHOST),
    ];
    ("kwok", arguments)
}

const ALONE: &str = "--leader-elect=false";
/// Nothing asks for their metrics, and their ports may be taken.
const NOT_SERVING: &str = "--secure-port=0";

/// The defaults, 20 and 50 requests a second, make a thousand Deployments wait for minutes.
const UNTHROTTLED: [&str; 2] = ["--kube-api-qps=1000", "--kube-api-burst=2000"];

fn flag(name: &str, value: impl std::fmt::Display) -> String {
    format!("--{name}={value}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::network::GATEWAY;

    fn folders() -> Folders {
        Folders::new(&"test".parse().unwrap()).unwrap()
    }

    #[test]
    fn loopback_ports_are_three() {
        let Addresses { api, etcd_port, etcd_peer_port } = Addresses::of_loopback().unwrap();
        assert!(api.port() != etcd_port && etcd_port != etcd_peer_port && api.port() != etcd_peer_port);
        assert!(api.ip().is_loopback());
    }

    #[test]
    fn programs_find_each_other() {
        let addresses = Addresses::of_namespace(GATEWAY);
        let (_, etcd) = etcd(&folders(), &addresses);
        assert!(etcd.contains(&"--listen-client-urls=http://127.0.0.1:2379".to_owned()), "{etcd:?}");
        let (_, api) = api_server(&folders(), &addresses, Shape::Nodes { nodes: 1 });
        assert!(api.contains(&"--etcd-servers=http://127.0.0.1:2379".to_owned()), "{api:?}");
        assert!(api.contains(&"--advertise-address=198.51.100.1".to_owned()), "{api:?}");
        assert!(!api.iter().any(|word| word.starts_with("--endpoint-reconciler")), "{api:?}");
    }

    #[test]
    fn every_program_is_traced_to_its_run() {
        let (folders, addresses) = (folders(), Addresses::of_namespace(GATEWAY));
        let all = [
            etcd(&folders, &addresses),
            api_server(&folders, &addresses, Shape::ControlPlane { nodes: 1 }),
            controllers(&folders, Shape::ControlPlane { nodes: 1 }),
            scheduler(&folders),
            simulator(&folders),
        ];
        let run = folders.run.display().to_string();
        for (name, arguments) in all {
            assert!(arguments.iter().any(|word| word.contains(&run)), "{name}: {arguments:?}");
        }
    }
}
