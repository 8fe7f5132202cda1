//! The table: targets beside what was measured.

use std::fmt::Write;
use std::time::Duration;

use super::latency::percentile;
use super::stages::{IDLE, Measured};
use crate::writes::Writes;

/// What the operator is to reach.
const OBJECTS: usize = 1000;
const KIB_PER_OBJECT_MAX: f64 = 10.0;
const EVENT_TO_WRITE_P99_MAX: Duration = Duration::from_millis(100);
const NO_OP_RECONCILES_PER_CORE_MIN: f64 = 500.0;

pub(super) struct Row {
    what: String,
    target: Option<String>,
    measured: String,
    is_met: bool,
}

impl Row {
    fn plain(what: &str, measured: String) -> Row {
        Row { what: what.to_owned(), target: None, measured, is_met: false }
    }

    fn with(mut self, target: impl Into<String>, is_met: impl Into<bool>) -> Row {
        self.target = Some(target.into());
        self.is_met = is_met.into();
        self
    }
}

pub(super) fn rows(measured: &Measured) -> Vec<Row> {
    let mut rows = making(measured);
    rows.extend(memory(measured));
    rows.extend(latency(measured));
    rows.extend(rest(measured));
    rows
}

fn making(measured: &Measured) -> Vec<Row> {
    let Measured { objects, empty, full, making, .. } = measured;
    let each = |count: f64| format!("{:.2}", count / *objects as f64);
    let cpu = full.cpu_seconds - empty.cpu_seconds;
    vec![
        Row::plain("objects", objects.to_string()).with(OBJECTS.to_string(), *objects >= OBJECTS),
        Row::plain("until all but the first were made", seconds(measured.created)),
        Row::plain("until all were Ready, pods simulated", seconds(measured.ready)),
        Row::plain("reconciles an object until then", each(full.reconciles - empty.reconciles)),
        Row::plain("writes an object, as the operator counts", each(full.writes - empty.writes)),
        Row::plain("writes an object, as the API server counts", each(making.applied() as f64)),
        Row::plain("events an object", each(full.events - empty.events)),
        Row::plain("questions to daemons an object", each(full.asked)),
        Row::plain("of them timed out", each(full.silent)),
        Row::plain("failed reconciles", format!("{}", full.errors)),
        Row::plain("processor time of the operator", format!("{cpu:.2} s")),
        Row::plain("processor time an object", format!("{:.2} ms", cpu * 1e3 / *objects as f64)),
    ]
}

fn memory(measured: &Measured) -> Vec<Row> {
    let Measured { objects, empty, one, full, restarted, .. } = measured;
    let each =
        |bytes: u64| bytes.saturating_sub(one.resident_bytes) as f64 / 1024.0 / (*objects as f64 - 1.0);
    let target = || format!("≤ {KIB_PER_OBJECT_MAX} KiB");
    let row = |what: &str, bytes: u64| {
        let kib = each(bytes);
        Row::plain(what, format!("{kib:.1} KiB")).with(target(), kib <= KIB_PER_OBJECT_MAX)
    };
    vec![
        Row::plain("memory (RSS) without objects", mib(empty.resident_bytes)),
        Row::plain("memory with one Ready", mib(one.resident_bytes)),
        Row::plain("memory with all Ready", mib(full.resident_bytes)),
        row("memory an object", full.resident_bytes),
        row("memory an object after a restart", restarted.resident_bytes),
    ]
}

fn latency(measured: &Measured) -> Vec<Row> {
    let text = |sorted: &[Duration], percent| milliseconds(percentile(sorted, percent));
    let (event, sending) = (&measured.latencies.of_event, &measured.latencies.of_sending);
    let p99 = percentile(event, 99);
    let target = format!("≤ {}", milliseconds(EVENT_TO_WRITE_P99_MAX));
    vec![
        Row::plain("from event to write of the Deployment, p50", text(event, 50)),
        Row::plain("from event to write of the Deployment, p99", milliseconds(p99))
            .with(target, p99 <= EVENT_TO_WRITE_P99_MAX),
        Row::plain("from sending a change to that write, p50", text(sending, 50)),
        Row::plain("from sending a change to that write, p99", text(sending, 99)),
    ]
}

fn rest(measured: &Measured) -> Vec<Row> {
    let Measured { idle, restart, restarted, .. } = measured;
    let rate = restarted.reconciles / restarted.cpu_seconds;
    let text = |writes: &Writes| match writes.total() {
        0 => "0".to_owned(),
        total => format!("{total}: {}", writes.describe()),
    };
    vec![
        Row::plain(&format!("writes of anybody in {} s without a change", IDLE.as_secs()), text(idle))
            .with("0", idle.total() == 0),
        Row::plain("reconciles in that time", format!("{}", measured.idle_reconciles)),
        Row::plain("reconciles after a restart", format!("{}", restarted.reconciles)),
        Row::plain("processor time for them, start included", format!("{:.2} s", restarted.cpu_seconds)),
        Row::plain("no-op reconciles a second and core", format!("{rate:.0}"))
            .with(format!("≥ {NO_OP_RECONCILES_PER_CORE_MIN}"), rate >= NO_OP_RECONCILES_PER_CORE_MIN),
        Row::plain("writes of anybody after a restart", text(restart)).with("0", restart.total() == 0),
    ]
}

/// In Markdown.
pub(super) fn table(rows: &[Row]) -> String {
    let mut text = "| what | target | measured | |\n|---|---:|---:|---|\n".to_owned();
    for Row { what, target, measured, is_met } in rows {
        let verdict = match (target, is_met) {
            (None, _) => "",
            (Some(_), true) => "met",
            (Some(_), false) => "**missed**",
        };
        let target = target.as_deref().unwrap_or("–");
        // Writing to a String cannot fail.
        let _ = writeln!(text, "| {what} | {target} | {measured} | {verdict} |");
    }
    text
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

fn milliseconds(time: Duration) -> String {
    format!("{:.0} ms", time.as_secs_f64() * 1e3)
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::super::latency::Latencies;
    use super::super::process::Reading;
    use super::*;

    fn measured() -> Measured {
        let milliseconds = |values: [u64; 2]| values.map(Duration::from_millis).to_vec();
        let reading = |resident_bytes, cpu_seconds, reconciles| Reading {
            resident_bytes,
            cpu_seconds,
            reconciles,
            ..Reading::default()
        };
        Measured {
            objects: 1000,
            created: Duration::from_secs(20),
            ready: Duration::from_millis(90_500),
            empty: reading(18 << 20, 0.5, 0.0),
            one: reading(20 << 20, 0.5, 1.0),
            full: Reading { writes: 6000.0, ..reading(30 << 20, 4.5, 7000.0) },
            making: Writes([("APPLY deployments".to_owned(), 6000)].into()),
            latencies: Latencies { of_event: milliseconds([60, 101]), of_sending: milliseconds([70, 120]) },
            restarted: reading(29 << 20, 1.0, 1200.0),
            restart: Writes([("APPLY services".to_owned(), 2)].into()),
            ..Measured::default()
        }
    }

    #[test]
    fn targets_stand_beside_what_was_measured() {
        let table = table(&rows(&measured()));
        for line in [
            "| objects | 1000 | 1000 | met |",
            "| until all were Ready, pods simulated | – | 90.5 s |  |",
            "| writes an object, as the API server counts | – | 6.00 |  |",
            "| processor time an object | – | 4.00 ms |  |",
            "| memory (RSS) without objects | – | 18.0 MiB |  |",
            "| memory with one Ready | – | 20.0 MiB |  |",
            "| memory an object | ≤ 10 KiB | 10.3 KiB | **missed** |",
            "| memory an object after a restart | ≤ 10 KiB | 9.2 KiB | met |",
            "| from event to write of the Deployment, p50 | – | 60 ms |  |",
            "| from event to write of the Deployment, p99 | ≤ 100 ms | 101 ms | **missed** |",
            "| writes of anybody in 60 s without a change | 0 | 0 | met |",
            "| no-op reconciles a second and core | ≥ 500 | 1200 | met |",
            "| writes of anybody after a restart | 0 | 2: 2 APPLY services | **missed** |",
        ] {
            assert!(table.contains(&format!("{line}\n")), "{line}:\n{table}");
        }
    }
}
