//! The API server over plain HTTP, through `kubectl proxy`.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use ureq::Agent;

use crate::cluster::Simulated;
use crate::http;
use crate::process::{Owned, free_port};

const START_LIMIT: Duration = Duration::from_secs(20);
/// The API server's own metrics are a few MiB.
const TEXT_BYTES_MAX: u64 = 64 << 20;

pub(super) struct Api {
    proxy: Owned,
    base: String,
    agent: Agent,
}

impl Api {
    pub(super) fn start(cluster: &Simulated) -> Result<Api> {
        let port = free_port()?;
        let mut command = cluster.command("kubectl")?;
        command.args(["proxy", &format!("--port={port}")]).stdin(Stdio::null()).stdout(Stdio::null());
        let proxy = command.spawn().context("cannot start kubectl proxy")?;
        let base = format!("http://127.0.0.1:{port}");
        let mut api = Api { proxy: Owned::new(proxy), base, agent: http::agent() };
        let start = Instant::now();
        while api.text("/readyz").is_err() {
            if let Some(status) = api.proxy.try_wait()? {
                bail!("kubectl proxy ended with {status}");
            }
            if start.elapsed() > START_LIMIT {
                bail!("kubectl proxy does not answer");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(api)
    }

    pub(super) fn text(&self, path: &str) -> Result<String> {
        let answer = self.agent.get(format!("{}{path}", self.base)).call();
        let answer = answer.with_context(|| format!("GET {path}"))?;
        Ok(answer.into_body().into_with_config().limit(TEXT_BYTES_MAX).read_to_string()?)
    }

    /// Server-side apply.
    pub(super) fn apply(&self, path: &str, object: &Value) -> Result<()> {
        let url = format!("{}{path}?fieldManager=bench&force=true", self.base);
        let request = self.agent.patch(url).content_type("application/apply-patch+yaml");
        let mut answer = request.send(object.to_string()).with_context(|| format!("PATCH {path}"))?;
        // Else the connection cannot be used again.
        answer.body_mut().read_to_vec()?;
        Ok(())
    }

    /// Lines of a watch, until the API server or the proxy ends.
    pub(super) fn watch(&self, path: &str) -> Result<impl Iterator<Item = String> + Send + use<>> {
        let answer = self.agent.get(format!("{}{path}?watch=true", self.base)).call();
        let answer = answer.with_context(|| format!("watch of {path}"))?;
        Ok(BufReader::new(answer.into_body().into_reader()).lines().map_while(Result::ok))
    }
}
