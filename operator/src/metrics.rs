//! What the operator counts, for Prometheus.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use kube::api::ApiResource;
use ostro_exposition::Exposition;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::api_calls::ApiCall;

/// Cheap to clone.
#[derive(Clone)]
pub(crate) struct Metrics {
    pub(crate) writes: Counter,
    pub(crate) leading: Gauge,
    objects: Gauge,
    /// Reconciles that run.
    pub(crate) running: Gauge,
    reconciles: Counter,
    errors: Family<ReasonLabel, Counter>,
    duration: Histogram,
    api_calls: Family<CallLabels, Counter>,
    optional_apis: Family<ApiLabel, Gauge>,
    daemon_requests: Family<ReplyLabel, Counter>,
    templates_pending: Family<ReasonLabel, Gauge>,
    objects_behind: Gauge,
    /// Lists of which a page was too long.
    pub(crate) shortened: Counter,
    /// Statuses that were not written yet, as they had been so often.
    pub(crate) delayed: Counter,
    /// Connections to the port that made room for others.
    pub(crate) displaced: Counter,
    count: Arc<OnceLock<Count>>,
    last_id: Arc<AtomicU64>,
    registry: Arc<Registry>,
}

/// How many objects there are, and how many wait for something.
pub(crate) struct Objects {
    pub(crate) all: usize,
    /// With their template, by reason.
    pub(crate) templates: Vec<(&'static str, usize)>,
    /// For the reconcile of their latest spec.
    pub(crate) behind: usize,
}

type Count = Box<dyn Fn() -> Objects + Send + Sync>;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

/// As RBAC names a call; what is no resource has none.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    verb: &'static str,
    group: String,
    resource: String,
    /// Of HTTP; `error` without an answer.
    code: String,
}

/// What became of a question to a daemon.
#[derive(Clone, Copy, Debug)]
pub(crate) enum DaemonReply {
    Answered,
    Failed,
    TimedOut,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReplyLabel {
    reply: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ApiLabel {
    group: String,
    version: String,
    resource: String,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut metrics = Metrics {
            writes: Counter::default(),
            leading: Gauge::default(),
            objects: Gauge::default(),
            running: Gauge::default(),
            reconciles: Counter::default(),
            errors: Family::default(),
            // To 131 s: one call alone may take 75 s.
            duration: Histogram::new(exponential_buckets(0.0005, 2.0, 19)),
            api_calls: Family::default(),
            optional_apis: Family::default(),
            daemon_requests: Family::default(),
            templates_pending: Family::default(),
            objects_behind: Gauge::default(),
            shortened: Counter::default(),
            delayed: Counter::default(),
            displaced: Counter::default(),
            count: Arc::default(),
            last_id: Arc::default(),
            registry: Arc::default(),
        };
        metrics.registry = Arc::new(metrics.registered());
        metrics
    }

    fn registered(&self) -> Registry {
        let mut registry = Registry::with_prefix("ostro_operator");
        let writes = self.writes.clone();
        registry.register("api_writes", "Objects and statuses written to the API server", writes);
        let calls = self.api_calls.clone();
        registry.register("api_calls", "Calls of the API server; a watch when it begins", calls);
        registry.register("leading", "1 while this process holds the lease", self.leading.clone());
        registry.register("objects", "InferenceDeployments that are watched", self.objects.clone());
        let apis = self.optional_apis.clone();
        registry.register("optional_api_present", "1 where the cluster has this optional API", apis);
        let requests = self.daemon_requests.clone();
        registry.register(
            "daemon_requests",
            "Questions to pods about their models, by what became of them",
            requests,
        );
        let pending = self.templates_pending.clone();
        registry.register("templates_pending", "InferenceDeployments with TemplateUpdatePending", pending);
        let behind = self.objects_behind.clone();
        registry.register(
            "objects_behind",
            "InferenceDeployments whose latest spec was not reconciled yet",
            behind,
        );
        let shortened = self.shortened.clone();
        registry.register("list_pages_shortened", "Pages over 2 MiB, read one object at a time", shortened);
        let delayed = self.delayed.clone();
        registry.register("status_writes_delayed", "Tries to write a status that had to wait", delayed);
        let displaced = self.displaced.clone();
        registry.register("connections_displaced", "Connections that made room for others", displaced);
        registry.register("reconciles", "Reconciles that ended", self.reconciles.clone());
        registry.register("reconciles_running", "Reconciles that run", self.running.clone());
        let errors = self.errors.clone();
        registry.register("reconcile_errors", "Reconciles that failed, by what failed", errors);
        let duration = self.duration.clone();
        registry.register_with_unit("reconcile_duration", "Time of a reconcile", Unit::Seconds, duration);
        registry
    }

    pub(crate) fn api_called(&self, call: Option<&ApiCall>, code: Option<u16>) {
        let labels = CallLabels {
            verb: call.map_or("get", |call| call.verb),
            group: call.map(|call| call.group.clone()).unwrap_or_default(),
            resource: call.map(|call| call.resource.clone()).unwrap_or_default(),
            code: code.map_or_else(|| "error".to_owned(), |code| code.to_string()),
        };
        self.api_calls.get_or_create(&labels).inc();
    }

    pub(crate) fn set_optional_api(&self, resource: &ApiResource, is_present: bool) {
        let ApiResource { group, version, plural, .. } = resource.clone();
        let labels = ApiLabel { group, version, resource: plural };
        self.optional_apis.get_or_create(&labels).set(is_present.into());
    }

    pub(crate) fn daemon_asked(&self, reply: DaemonReply) {
        let reply = match reply {
            DaemonReply::Answered => "answered",
            DaemonReply::Failed => "failed",
            DaemonReply::TimedOut => "timed_out",
        };
        self.daemon_requests.get_or_create(&ReplyLabel { reply }).inc();
    }

    /// A number for the log lines of one reconcile.
    pub(crate) fn next_reconcile(&self) -> u64 {
        self.last_id.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(crate) fn reconciled(&self, took: Duration, failed: Option<&'static str>) {
        self.reconciles.inc();
        self.duration.observe(took.as_secs_f64());
        if let Some(reason) = failed {
            self.errors.get_or_create(&ReasonLabel { reason }).inc();
        }
    }

    /// Objects are counted when somebody asks, so that one that was deleted is counted no more.
    pub(crate) fn count_by(&self, count: impl Fn() -> Objects + Send + Sync + 'static) {
        // Set once: a process leads once.
        let _ = self.count.set(Box::new(count));
    }

    pub(crate) fn text(&self, exposition: Exposition) -> String {
        if let Some(Objects { all, templates, behind }) = self.count.get().map(|count| count()) {
            self.objects.set(all as i64);
            self.objects_behind.set(behind as i64);
            for (reason, objects) in templates {
                self.templates_pending.get_or_create(&ReasonLabel { reason }).set(objects as i64);
            }
        }
        exposition.write(&self.registry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inference_deployment::build::ChildKind;

    const PAGE: &str = include_str!("../../docs/operations.md");

    #[test]
    fn the_page_has_every_metric_and_no_other() {
        let metrics = Metrics::new();
        // A family without members is not written.
        metrics.reconciled(Duration::ZERO, Some("apply"));
        metrics.api_called(None, None);
        metrics.set_optional_api(&ChildKind::ServiceMonitor.resource(), true);
        metrics.daemon_asked(DaemonReply::Answered);
        metrics.count_by(|| Objects { all: 1, templates: vec![("SpecHeld", 1)], behind: 0 });
        let text = metrics.text(Exposition::Text);
        let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        let mut names: Vec<&str> = types.map(|line| line.split(' ').next().unwrap_or_default()).collect();
        names.sort();
        let rows = PAGE.lines().filter_map(|line| line.strip_prefix("| `ostro_operator_"));
        let mut told: Vec<String> =
            rows.map(|row| format!("ostro_operator_{}", row.split('`').next().unwrap_or_default())).collect();
        told.sort();
        assert_eq!(told, names);
    }

    /// The exposition's samples, without comments.
    fn samples(metrics: &Metrics) -> Vec<String> {
        metrics
            .text(Exposition::Text)
            .lines()
            .filter(|line| !line.starts_with('#'))
            .map(str::to_owned)
            .collect()
    }

    #[test]
    fn reconciles_are_counted_by_what_failed() {
        let metrics = Metrics::new();
        metrics.reconciled(Duration::from_millis(3), None);
        metrics.reconciled(Duration::from_secs(100), Some("apply"));
        metrics.reconciled(Duration::from_millis(1), Some("apply"));
        metrics.running.inc();
        metrics.leading.set(1);
        let samples = samples(&metrics);
        for expected in [
            "ostro_operator_reconciles_total 3",
            "ostro_operator_reconcile_errors_total{reason=\"apply\"} 2",
            "ostro_operator_reconcile_duration_seconds_bucket{le=\"0.004\"} 2",
            "ostro_operator_reconcile_duration_seconds_bucket{le=\"65.536\"} 2",
            "ostro_operator_reconcile_duration_seconds_bucket{le=\"131.072\"} 3",
            "ostro_operator_reconciles_running 1",
            "ostro_operator_leading 1",
        ] {
            assert!(samples.iter().any(|sample| sample == expected), "{expected}: {samples:#?}");
        }
    }
}
