//! The certificates of a cluster: who each program is, signed by an authority of the cluster's own.
//!
//! Every `up` makes them anew, which takes milliseconds, so that none is ever found expired.

use std::fs::{OpenOptions, create_dir_all};
use std::io::Write;
use std::net::Ipv4Addr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use time::{Duration, OffsetDateTime};

use super::state::Shape;

/// A cluster that is older is started anew.
pub(super) const GOOD_FOR_DAYS: u16 = 30;
pub(super) const RENEW_AFTER_DAYS: u16 = 20;

/// The address that pods know the API server by: the first of the services' range.
const API_SERVICE: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);

/// A program or person, as the API server knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    /// `FILE.crt` and `FILE.key`.
    pub(super) file: String,
    /// The user's name.
    common_name: String,
    /// The group's name.
    organization: Option<&'static str>,
    /// Addresses and names that it serves under; none for a client.
    serves: Vec<String>,
}

/// All that a cluster of this shape takes. The API server is reached at `api`.
pub(super) fn identities(api: Ipv4Addr, shape: Shape) -> Vec<Identity> {
    let client = |file: &str, common_name: String, organization| Identity {
        file: file.to_owned(),
        common_name,
        organization,
        serves: Vec::new(),
    };
    let mut serves = vec![Ipv4Addr::LOCALHOST.to_string(), API_SERVICE.to_string()];
    if api != Ipv4Addr::LOCALHOST {
        serves.push(api.to_string());
    }
    serves.extend(
        ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"].map(str::to_owned),
    );
    let mut all = vec![
        Identity {
            file: "api".to_owned(),
            common_name: "kube-apiserver".to_owned(),
            organization: None,
            serves,
        },
        client("kubelet-client", "apiserver".to_owned(), Some("system:masters")),
        client("admin", "admin".to_owned(), Some("system:masters")),
        client("controllers", "system:kube-controller-manager".to_owned(), None),
        client("scheduler", "system:kube-scheduler".to_owned(), None),
    ];
    if let Shape::Nodes { .. } = shape {
        all.push(client("proxy", "system:kube-proxy".to_owned(), None));
        // No role that every cluster has lets it read nodes, pods and policies, and nothing more.
        all.push(client("firewall", "kube-router".to_owned(), Some("system:masters")));
        let nodes = shape.node_names();
        all.extend(nodes.map(|node| client(&node, format!("system:node:{node}"), Some("system:nodes"))));
    }
    all
}

/// Writes the authority `ca.crt`, a certificate and key for each identity, and the key pair `service-accounts.key`
/// and `.pub`.
///
/// # Errors
/// The folder cannot be written.
pub(super) fn write(folder: &Path, identities: &[Identity]) -> Result<()> {
    create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let key = KeyPair::generate()?;
    let mut params = params("ca", None)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let certificate = params.self_signed(&key)?;
    write_private(&folder.join("ca.crt"), &certificate.pem())?;
    let authority = Issuer::from_params(&params, &key);
    for identity in identities {
        let key = KeyPair::generate()?;
        let certificate = sign(identity, &key, &authority)?;
        write_private(&folder.join(format!("{}.crt", identity.file)), &certificate.pem())?;
        write_private(&folder.join(format!("{}.key", identity.file)), &key.serialize_pem())?;
    }
    let key = KeyPair::generate()?;
    write_private(&folder.join("service-accounts.key"), &key.serialize_pem())?;
    write_private(&folder.join("service-accounts.pub"), &key.public_key_pem())
}

fn sign(identity: &Identity, key: &KeyPair, authority: &Issuer<'_, &KeyPair>) -> Result<Certificate> {
    let mut params = params(&identity.common_name, identity.organization)?;
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    if !identity.serves.is_empty() {
        params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
    }
    for name in &identity.serves {
        params.subject_alt_names.push(match name.parse() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) => SanType::DnsName(name.as_str().try_into()?),
        });
    }
    Ok(params.signed_by(key, authority)?)
}

fn params(common_name: &str, organization: Option<&str>) -> Result<CertificateParams> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    if let Some(organization) = organization {
        params.distinguished_name.push(DnType::OrganizationName, organization);
    }
    let now = OffsetDateTime::now_utc();
    // A little earlier, for clocks that differ.
    params.not_before = now - Duration::hours(1);
    params.not_after = now + Duration::days(GOOD_FOR_DAYS.into());
    Ok(params)
}

/// For the user alone: with these one may do all in the cluster.
fn write_private(path: &Path, text: &str) -> Result<()> {
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
    let mut file = file.with_context(|| format!("cannot write {}", path.display()))?;
    Ok(file.write_all(text.as_bytes())?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::process::Command;

    use super::*;

    const API: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);

    #[test]
    fn each_program_is_who_rbac_expects() {
        let names = |shape| -> Vec<String> {
            let all = identities(API, shape);
            all.iter().map(|one| format!("{} {}", one.common_name, one.organization.unwrap_or("-"))).collect()
        };
        let control_plane = [
            "kube-apiserver -",
            "apiserver system:masters",
            "admin system:masters",
            "system:kube-controller-manager -",
            "system:kube-scheduler -",
        ];
        assert_eq!(names(Shape::ControlPlane { nodes: 2 }), control_plane);
        let nodes = [
            "system:kube-proxy -",
            "kube-router system:masters",
            "system:node:node1 system:nodes",
            "system:node:node2 system:nodes",
        ];
        assert_eq!(names(Shape::Nodes { nodes: 2 }), [&control_plane[..], &nodes].concat());
    }

    #[test]
    fn the_server_is_known_by_all_its_names() {
        let all = identities(API, Shape::Nodes { nodes: 1 });
        let serves = &all[0].serves;
        for name in ["127.0.0.1", "198.51.100.1", "10.96.0.1", "kubernetes.default.svc"] {
            assert!(serves.iter().any(|one| one == name), "{name} is not in {serves:?}");
        }
        assert!(all[1..].iter().all(|one| one.serves.is_empty()));
    }

    #[test]
    fn certificates_hold_before_another_program() {
        if Command::new("openssl").arg("version").output().is_err() {
            crate::skipped::tell("openssl is not installed");
            return;
        }
        let folder = tempfile::TempDir::new().unwrap();
        let all = identities(API, Shape::Nodes { nodes: 1 });
        write(folder.path(), &all).unwrap();
        let openssl = |words: &[&str]| {
            let output = Command::new("openssl").current_dir(folder.path()).args(words).output().unwrap();
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
            text
        };
        openssl(&["verify", "-x509_strict", "-CAfile", "ca.crt", "-purpose", "sslserver", "api.crt"]);
        for one in &all {
            openssl(&["verify", "-CAfile", "ca.crt", "-purpose", "sslclient", &format!("{}.crt", one.file)]);
            let mode =
                folder.path().join(format!("{}.key", one.file)).metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        // From 3.2 on, `oneline` is no longer what it writes by itself.
        let subject = ["-noout", "-nameopt", "oneline", "-subject", "-checkend", "2505600"];
        let text = openssl(&[&["x509", "-in", "node1.crt"][..], &subject].concat());
        assert!(text.contains("O = system:nodes") && text.contains("CN = system:node:node1"), "{text}");
        openssl(&["pkey", "-pubin", "-in", "service-accounts.pub", "-noout"]);
        let text = openssl(&["x509", "-in", "api.crt", "-noout", "-ext", "subjectAltName"]);
        assert!(
            text.contains("IP Address:198.51.100.1") && text.contains("DNS:kubernetes.default"),
            "{text}"
        );
    }
}
