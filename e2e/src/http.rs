//! Requests to servers on this machine. A proxy of the user's is for what is outside, and does not reach loopback.

use std::time::Duration;

use ureq::typestate::{WithBody, WithoutBody};
use ureq::{Agent, RequestBuilder};

/// Answers take seconds; this is for a machine under heavy load.
const LIMIT: Duration = Duration::from_secs(120);

/// Keeps connections, and waits as long as it takes.
pub fn agent() -> Agent {
    Agent::config_builder().proxy(None).build().into()
}

/// On a connection of its own, and with a limit.
pub fn get(url: &str) -> RequestBuilder<WithoutBody> {
    once().get(url)
}

/// As `get`.
pub fn post(url: &str) -> RequestBuilder<WithBody> {
    once().post(url)
}

fn once() -> Agent {
    Agent::config_builder().proxy(None).timeout_global(Some(LIMIT)).build().into()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    const PROXY: (&str, &str) = ("ALL_PROXY", "http://127.0.0.1:9");

    /// In a process of its own, whose user has one.
    #[test]
    fn a_proxy_is_not_asked() {
        if std::env::var(PROXY.0).is_ok_and(|proxy| proxy == PROXY.1) {
            assert!([agent(), once()].iter().all(|agent| agent.config().proxy().is_none()));
            return;
        }
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "http::tests::a_proxy_is_not_asked"]).env(PROXY.0, PROXY.1);
        let ended = command.output().unwrap();
        let told = String::from_utf8_lossy(&ended.stdout);
        assert!(ended.status.success() && told.contains("1 passed"), "{told}");
    }
}
