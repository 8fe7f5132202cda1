//! Startup and readiness ask whether every model is loaded, liveness only whether the process answers. Pure.

use k8s_openapi::api::core::v1::{HTTPGetAction, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use ostro_crds::{InferenceDeploymentSpec, Probe as Override};

use super::startup;

const STARTUP_PERIOD_SECONDS: i32 = 2;

pub(super) struct PodProbes {
    pub(super) startup: Probe,
    pub(super) readiness: Probe,
    pub(super) liveness: Probe,
}

pub(super) fn build(spec: &InferenceDeploymentSpec) -> PodProbes {
    let overrides = spec.probes.clone().unwrap_or_default();
    let period = overrides.startup.as_ref().and_then(|startup| startup.period_seconds);
    let period = period.unwrap_or(STARTUP_PERIOD_SECONDS).max(1);
    let startup = Settings {
        path: "/ready",
        period_seconds: STARTUP_PERIOD_SECONDS,
        timeout_seconds: 5,
        // The time is the same, however often it is asked in it.
        failure_threshold: startup::seconds(spec).saturating_add(period - 1) / period,
    };
    let readiness = Settings { path: "/ready", period_seconds: 5, timeout_seconds: 5, failure_threshold: 3 };
    let liveness =
        Settings { path: "/health", period_seconds: 10, timeout_seconds: 10, failure_threshold: 6 };
    PodProbes {
        startup: startup.probe(overrides.startup),
        readiness: readiness.probe(overrides.readiness),
        liveness: liveness.probe(overrides.liveness),
    }
}

struct Settings {
    path: &'static str,
    period_seconds: i32,
    timeout_seconds: i32,
    failure_threshold: i32,
}

impl Settings {
    fn probe(&self, overrides: Option<Override>) -> Probe {
        let Override { period_seconds, timeout_seconds, failure_threshold } = overrides.unwrap_or_default();
        Probe {
            http_get: Some(HTTPGetAction {
                path: Some(self.path.to_owned()),
                port: IntOrString::String("http".to_owned()),
                ..HTTPGetAction::default()
            }),
            period_seconds: Some(period_seconds.unwrap_or(self.period_seconds)),
            timeout_seconds: Some(timeout_seconds.unwrap_or(self.timeout_seconds)),
            failure_threshold: Some(failure_threshold.unwrap_or(self.failure_threshold)),
            ..Probe::default()
        }
    }
}
