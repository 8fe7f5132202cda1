//! What the operator counts, for Prometheus.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// Cheap to clone.
#[derive(Clone)]
pub(crate) struct Metrics {
    pub(crate) writes: Counter,
    pub(crate) leading: Gauge,
    pub(crate) objects: Gauge,
    reconciles: Counter,
    errors: Family<ReasonLabel, Counter>,
    duration: Histogram,
    last_id: Arc<AtomicU64>,
    registry: Arc<Registry>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("ostro_operator");
        let writes = Counter::default();
        let leading = Gauge::<i64, AtomicI64>::default();
        let objects = Gauge::<i64, AtomicI64>::default();
        let reconciles = Counter::default();
        let errors = Family::<ReasonLabel, Counter>::default();
        let duration = Histogram::new(exponential_buckets(0.0005, 2.0, 14));
        registry.register("api_writes", "Objects and statuses written to the API server", writes.clone());
        registry.register("leading", "1 while this process holds the lease", leading.clone());
        registry.register("objects", "InferenceDeployments that are watched", objects.clone());
        registry.register("reconciles", "Reconciles that ended", reconciles.clone());
        registry.register("reconcile_errors", "Reconciles that failed, by what failed", errors.clone());
        registry.register_with_unit(
            "reconcile_duration",
            "Time of a reconcile",
            Unit::Seconds,
            duration.clone(),
        );
        let last_id = Arc::default();
        Metrics {
            writes,
            leading,
            objects,
            reconciles,
            errors,
            duration,
            last_id,
            registry: Arc::new(registry),
        }
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

    /// In the OpenMetrics text format.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = include_str!("../../docs/operations.md");

    #[test]
    fn the_page_has_every_metric_and_no_other() {
        let metrics = Metrics::new();
        // A family without members is not written.
        metrics.reconciled(Duration::ZERO, Some("apply"));
        let text = metrics.text();
        let is_counter = |line: &str| line.ends_with(" counter");
        let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        let name = |line: &str| line.split(' ').next().unwrap_or_default().to_owned();
        let mut names: Vec<String> =
            types.map(|line| name(line) + if is_counter(line) { "_total" } else { "" }).collect();
        names.sort();
        let rows = PAGE.lines().filter_map(|line| line.strip_prefix("| `ostro_operator_"));
        let mut told: Vec<String> =
            rows.map(|row| format!("ostro_operator_{}", row.split('`').next().unwrap_or_default())).collect();
        told.sort();
        assert_eq!(told, names);
    }
}
