//! A hub in the cluster's network, from which pods download as from the real one.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use ostro_e2e::process::Owned;
use ostro_e2e::{cache, model};
use serde_json::{Value, json};

use crate::support::Cluster;

/// The model of `docs/examples/smollm2.yaml`, as far as pods know: its files are those of a smaller one.
pub(crate) const MODEL: &str = "HuggingFaceTB/SmolLM2-135M-Instruct";
pub(crate) const GATED: &str = "karpathy/gated";
/// Any other token is refused.
pub(crate) const TOKEN: &str = "right";

/// Ends with the step.
pub(crate) struct Hub {
    _process: Owned,
    url: String,
}

impl Hub {
    /// What makes pods ask this hub.
    pub(crate) fn environment(&self) -> Value {
        json!([{ "name": "HF_ENDPOINT", "value": self.url }])
    }
}

/// At the address of the API server, which pods reach.
pub(crate) fn start(cluster: &Cluster) -> Hub {
    model::fetch_named(&["stories15m".to_owned()]).unwrap();
    let folder = cache::model("stories15m").unwrap();
    let host = cluster.server().ip();
    let models = [MODEL, GATED].map(|id| format!("{id}={}", folder.display()));
    let mut command = cluster.command(&["exec", "--", env!("CARGO_BIN_EXE_ostro-e2e"), "hub", "serve"]);
    command.args(["--listen", &format!("{host}:0"), "--token", TOKEN, "--gated", GATED]);
    command.args(["--model", &models[0], "--model", &models[1]]);
    let process = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut process = Owned::new(process);
    let mut url = String::new();
    BufReader::new(process.stdout.take().unwrap()).read_line(&mut url).unwrap();
    Hub { _process: process, url: url.trim().to_owned() }
}
