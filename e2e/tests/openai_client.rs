//! The unmodified openai package of Python against a real daemon with a real model.

use std::path::Path;
use std::process::Command;

use ostro_e2e::{daemon::Daemon, model, python};

#[test]
fn the_openai_package_gets_what_it_expects() {
    let model = model::ensure_smollm2().expect("the model can be fetched");
    let daemon = Daemon::start(&model, &["--max-seqs", "16"]).expect("the daemon starts");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("python");
    let python = python::environment(&folder.join("requirements.txt")).expect("the package can be installed");
    let output = Command::new(python)
        .arg("-B")
        .arg(folder.join("test_openai_client.py"))
        .envs([("NO_PROXY", "127.0.0.1"), ("no_proxy", "127.0.0.1")])
        .env("OSTRO_URL", format!("{}/v1", daemon.base()))
        .env("OSTRO_MODEL", daemon.model_id().expect("a model is listed"))
        .output()
        .expect("python starts");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\ndaemon:\n{}", daemon.log());
    assert!(text.contains("OK"), "{text}");
}
