//! What kubectl's plugin says of kubeconfigs that it cannot use. No cluster is asked.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::Command;

/// Errors of `kubectl ostro status` with a kubeconfig of this text.
fn errors(name: &str, text: Option<&str>) -> String {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("kubeconfig-{name}"));
    if let Some(text) = text {
        std::fs::write(&path, text).unwrap();
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_kubectl-ostro"));
    let output = command.arg("status").arg("--kubeconfig").arg(&path).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    String::from_utf8(output.stderr).unwrap()
}

fn kubeconfig(user: &str, namespace: &str) -> String {
    format!(
        r#"{{
            "current-context": "c",
            "contexts": [{{"name": "c", "context": {{"cluster": "c", "user": "u", "namespace": "{namespace}"}}}}],
            "clusters": [{{"name": "c", "cluster": {{"server": "http://127.0.0.1:9"}}}}],
            "users": [{{"name": "u", "user": {user}}}]
        }}"#
    )
}

#[test]
fn the_file_is_named_and_a_cause_told_once() {
    for (name, text, cause) in [
        ("missing", None, "No such file"),
        ("empty", Some(""), "failed to determine current context"),
        (
            "namespace",
            Some(kubeconfig("{}", "a/b").as_str()),
            "the context's namespace \"a/b\": a namespace has",
        ),
    ] {
        let errors = errors(name, text);
        assert_eq!(errors.matches(cause).count(), 1, "{errors}");
        assert!(name == "namespace" || errors.contains(&format!("kubeconfig-{name}: ")), "{errors}");
    }
}

#[test]
fn a_credential_plugin_keeps_its_secrets() {
    for (script, expected) in [
        (
            "echo s3cret; exit 3",
            "error: cannot get credentials by sh: the credential plugin failed: exit status: 3\n",
        ),
        (
            "echo '[s3cret'",
            "error: cannot get credentials by sh: the credential plugin's output is no ExecCredential\n",
        ),
    ] {
        let user = format!(
            r#"{{"exec": {{"apiVersion": "client.authentication.k8s.io/v1", "command": "sh", "args": ["-c", "{script}"],
                "env": [{{"name": "A", "value": "s3cret"}}]}}}}"#
        );
        assert_eq!(errors("plugin", Some(&kubeconfig(&user, "n"))), expected);
    }
}
