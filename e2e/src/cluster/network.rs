//! The network of a cluster with nodes: one namespace with a bridge, each node's own namespace on it.
//!
//! The machine's own network is not touched, and nothing leads out of this one. Addresses are of a range that is
//! kept for documentation (RFC 5737), so that none is shadowed.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::folders::Name;

/// The bridge: the API server's address and the way between pods of different nodes.
pub(super) const GATEWAY: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);

/// Where a registry may answer from which nodes pull: beside the gateway, an address that is private (RFC 1918), so that
/// programs which push expect no TLS there.
pub const REGISTRY: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 99, 0, 1), 5000);

/// The range of all pods.
pub(super) const PODS: &str = "10.88.0.0/16";

const FOLDER: &str = "/run/netns";

pub(super) fn namespace(cluster: &Name) -> String {
    format!("ostro-{cluster}")
}

/// Of the node with this number, from 1 on.
pub(super) fn address(node: u8) -> Ipv4Addr {
    Ipv4Addr::new(198, 51, 100, 10 + node)
}

/// The range of a node's pods.
pub(super) fn pods(node: u8) -> String {
    format!("10.88.{node}.0/24")
}

/// Where the kernel shows the namespace.
pub(super) fn path(namespace: &str) -> PathBuf {
    Path::new(FOLDER).join(namespace)
}

/// # Errors
/// Not root, or the kernel has no bridges.
pub(super) fn create(namespace: &str) -> Result<()> {
    ip(&["netns", "add", namespace])?;
    let (gateway, registry) = (format!("{GATEWAY}/24"), format!("{}/32", REGISTRY.ip()));
    for words in [
        &["link", "set", "lo", "up"][..],
        &["link", "add", "br0", "type", "bridge"],
        &["address", "add", &gateway, "dev", "br0"],
        &["address", "add", &registry, "dev", "br0"],
        &["link", "set", "br0", "up"],
    ] {
        ip(&[&["-n", namespace], words].concat())?;
    }
    // Pods of different nodes meet here.
    run(Command::new("ip").args(["netns", "exec", namespace, "sysctl", "-qw", "net.ipv4.ip_forward=1"]))
}

/// Gives the node whose first process is `pid` its `eth0`, on the bridge, and leads its pods' range to it.
pub(super) fn attach(namespace: &str, node: u8, pid: u32) -> Result<()> {
    let (link, pid, via) = (format!("node{node}"), pid.to_string(), address(node).to_string());
    for words in [
        &["link", "add", &link, "type", "veth", "peer", "name", "eth0", "netns", &pid][..],
        &["link", "set", &link, "master", "br0", "up"],
        &["route", "add", &pods(node), "via", &via],
    ] {
        ip(&[&["-n", namespace], words].concat())?;
    }
    Ok(())
}

/// Fine where it is not there.
pub(super) fn delete(namespace: &str) -> Result<()> {
    if !path(namespace).exists() {
        return Ok(());
    }
    ip(&["netns", "delete", namespace])?;
    // `ip` mounts this folder on itself with the first namespace and leaves it so. Another one in it keeps it.
    if std::fs::read_dir(FOLDER)?.next().is_none() {
        let _ = run(Command::new("umount").arg(FOLDER));
        let _ = std::fs::remove_dir(FOLDER);
    }
    Ok(())
}

fn ip(words: &[&str]) -> Result<()> {
    run(Command::new("ip").args(words))
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("cannot start {:?}", command.get_program()))?;
    ensure!(
        output.status.success(),
        "{command:?} failed: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_have_addresses_and_ranges_of_their_own() {
        assert_eq!(address(2), Ipv4Addr::new(198, 51, 100, 12));
        assert_eq!((pods(1).as_str(), pods(2).as_str()), ("10.88.1.0/24", "10.88.2.0/24"));
        assert_eq!(namespace(&"e2e".parse().unwrap()), "ostro-e2e");
    }

    #[test]
    fn a_failure_tells_the_command_and_its_words() {
        let error =
            run(Command::new("sh").args(["-c", "echo no bridge >&2; exit 2"])).unwrap_err().to_string();
        assert!(error.contains("\"sh\"") && error.ends_with("no bridge"), "{error}");
    }
}
