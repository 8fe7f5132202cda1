//! Files by which a program finds the API server and proves who it is. JSON, which is YAML too.

use std::net::SocketAddrV4;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

/// For the holder of `certificates/USER.crt` and its key.
pub(super) fn build(api: SocketAddrV4, certificates: &Path, user: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "ostro", "cluster": {
            "server": format!("https://{api}"),
            "certificate-authority": certificates.join("ca.crt"),
        }}],
        "users": [{"name": user, "user": {
            "client-certificate": certificates.join(format!("{user}.crt")),
            "client-key": certificates.join(format!("{user}.key")),
        }}],
        "contexts": [{"name": "ostro", "context": {"cluster": "ostro", "user": user}}],
        "current-context": "ostro",
    })
}

pub(super) fn write(path: &Path, kubeconfig: &Value) -> Result<()> {
    std::fs::write(path, format!("{kubeconfig:#}\n"))
        .with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn a_user_is_its_certificate() {
        let api = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 6443);
        let config = build(api, Path::new("/c"), "admin");
        assert_eq!(config["clusters"][0]["cluster"]["server"], "https://127.0.0.1:6443");
        assert_eq!(config["users"][0]["user"]["client-certificate"], "/c/admin.crt");
        let context = &config["contexts"][0];
        assert_eq!(config["current-context"], context["name"]);
        assert_eq!(context["context"]["user"], config["users"][0]["name"]);
        assert_eq!(context["context"]["cluster"], config["clusters"][0]["name"]);
    }
}
