//! What a cluster takes of the machine beside its own programs.

use std::process::Command;

use anyhow::{Context, Result, bail};

use super::state::Shape;
use crate::debian::{self, Needed};

/// Debian's programs and packages for nodes. Control planes with simulated nodes need none.
const NODES: [Needed; 10] = [
    ("runc", "runc"),
    ("/usr/lib/cni/ptp", "containernetworking-plugins"),
    ("ip", "iproute2"),
    ("nft", "nftables"),
    ("conntrack", "conntrack"),
    ("iptables", "iptables"),
    ("ipset", "ipset"),
    IMAGES[0],
    ("sysctl", "procps"),
    ("nsenter", "util-linux"),
];

/// What the cluster's own images are made of, beside its programs.
const IMAGES: [Needed; 1] = [("busybox", "busybox-static")];

const INSTEAD: &str = "`cluster up --control-plane-only` needs no rights, and simulates nodes and pods";

/// What to do about packages that are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    Tell,
    Install,
}

/// # Errors
/// Names all missing packages in one line to run; or nodes are asked for without the rights of root.
pub(super) fn check(shape: Shape, missing: Missing) -> Result<()> {
    let Shape::Nodes { .. } = shape else { return Ok(()) };
    check_packages(&NODES, missing)?;
    if !debian::is_root() {
        bail!("nodes need root; {INSTEAD}");
    }
    let output = Command::new("unshare").args(["--mount", "--net", "--pid", "--fork", "true"]).output();
    let output = output.context("cannot start unshare")?;
    if !output.status.success() {
        let reason = String::from_utf8_lossy(&output.stderr);
        bail!("root may not make namespaces on this machine ({}); {INSTEAD}", reason.trim());
    }
    Ok(())
}

/// To build takes less than to run.
///
/// # Errors
/// As of [`check`].
pub(super) fn check_build(missing: Missing) -> Result<()> {
    let needed = match missing {
        Missing::Tell => &IMAGES[..],
        Missing::Install => &NODES,
    };
    check_packages(needed, missing)
}

fn check_packages(needed: &[Needed], missing: Missing) -> Result<()> {
    let packages = debian::missing(needed);
    match missing {
        _ if packages.is_empty() => Ok(()),
        Missing::Install => debian::install(&packages),
        Missing::Tell => {
            bail!(
                "Debian packages are missing, get them by --install or by: {}",
                debian::install_line(&packages)
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_control_plane_needs_nothing_of_the_machine() {
        check(Shape::ControlPlane { nodes: 1 }, Missing::Tell).unwrap();
    }

    #[test]
    fn all_that_is_missing_is_one_line() {
        let needed = [("no-such-b", "two"), ("sh", "dash"), ("/no/such", "one")];
        let told = check_packages(&needed, Missing::Tell).unwrap_err().to_string();
        assert!(told.ends_with("apt-get install -y --no-install-recommends one two"), "{told}");
    }
}
