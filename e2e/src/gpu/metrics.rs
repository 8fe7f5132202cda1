//! A served model's metrics beside what nvidia-smi says: the same GPUs with the same numbers, and the model on one of them.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use super::packed::Packed;
use super::smi::{Gpu, Smi};
use super::table::Done;
use crate::daemon::Daemon;
use crate::exposition::{samples, total};
use crate::process::output_within;

const MIB: f64 = 1024.0 * 1024.0;
/// Others may use the GPUs meanwhile; nobody uses those of tests.
const TRIES: usize = 3;
const PAUSE: Duration = Duration::from_millis(if cfg!(test) { 10 } else { 1000 });
/// More than the model's weights, so that it shows in what is used.
const FLAGS: [&str; 2] = ["--pa-memory-mb", "64"];

/// A number that both tell.
struct Pair {
    metric: &'static str,
    /// In the metric's unit.
    read: fn(&Gpu) -> Option<f64>,
    /// nvidia-smi rounds to MiB, and temperatures move.
    slack: f64,
}

const PAIRS: [Pair; 3] = [
    Pair {
        metric: "ostro_gpu_memory_total_bytes",
        read: |gpu| gpu.total_mib.map(|mib| mib * MIB),
        slack: MIB,
    },
    Pair { metric: "ostro_gpu_memory_used_bytes", read: |gpu| gpu.used_mib.map(|mib| mib * MIB), slack: MIB },
    Pair { metric: "ostro_gpu_temperature_celsius", read: |gpu| gpu.celsius, slack: 2.0 },
];

/// Serves a tiny model for it.
///
/// # Errors
/// The model does not load onto a GPU, or something differs.
pub(super) fn check(packed: &Packed, smi: &Smi<'_>) -> Result<Done> {
    let folder = TempDir::new()?;
    let model = folder.path().join("tiny.gguf");
    let mut write = Command::new(packed.program("tiny_model"));
    output_within(write.args(["llama", "q8_0"]).arg(&model), smi.limit)?;
    let mut program = Command::new(packed.program("ostro"));
    program.env("OSTRO_REQUIRE_GPU", "1");
    let idle = smi.gpus()?;
    let daemon = Daemon::launch(program, &model, &FLAGS, smi.limit)?;
    await_gpus(&daemon, smi.limit)?;
    let compared = || compare(&idle, &smi.gpus()?, &daemon.metrics()?, &smi.gpus()?);
    let mut result = compared();
    for _ in 1..TRIES {
        result = result.or_else(|_| {
            std::thread::sleep(PAUSE);
            compared()
        });
    }
    Ok(Done::Passed(result?))
}

/// NVIDIA's library may take longer to load than a scrape waits.
fn await_gpus(daemon: &Daemon, limit: Duration) -> Result<()> {
    let start = Instant::now();
    while samples(&daemon.metrics()?, PAIRS[0].metric).next().is_none() {
        ensure!(start.elapsed() < limit, "the metrics show no GPU after {limit:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

/// Metrics that were read between two answers of nvidia-smi; `idle` is its answer before the model was loaded.
fn compare(idle: &[Gpu], before: &[Gpu], metrics: &str, after: &[Gpu]) -> Result<String> {
    let theirs: BTreeSet<&str> = before.iter().map(|gpu| gpu.uuid.as_str()).collect();
    let gpus: Vec<_> = samples(metrics, PAIRS[0].metric).collect();
    let ours: BTreeSet<&str> = gpus.iter().map(|sample| sample.label("uuid")).collect();
    ensure!(ours == theirs, "nvidia-smi has {theirs:?}, the metrics have {ours:?}");
    let mut told = Vec::new();
    for before in before {
        let after = after.iter().find(|gpu| gpu.uuid == before.uuid);
        let after = after.with_context(|| format!("{} has gone", before.uuid))?;
        for pair in &PAIRS {
            told.push(pair.compare(before, metrics, after)?);
        }
    }
    told.push(placed(idle, metrics, &theirs)?);
    Ok(told.join("; "))
}

impl Pair {
    fn compare(&self, before: &Gpu, metrics: &str, after: &Gpu) -> Result<String> {
        let Pair { metric, read, slack } = self;
        let uuid = &before.uuid;
        let ours = samples(metrics, metric).find(|sample| sample.label("uuid") == uuid);
        let ours = ours.map(|sample| sample.value);
        match (read(before), ours, read(after)) {
            (Some(before), Some(ours), Some(after)) => {
                let (least, most) = (before.min(after) - slack, before.max(after) + slack);
                let is_same = (least..=most).contains(&ours);
                ensure!(is_same, "{metric} of {uuid} is {ours}, by nvidia-smi {before} and then {after}");
                Ok(format!("{metric} {ours}"))
            }
            (None, None, None) => Ok(format!("{metric} is told by neither")),
            (before, ours, _) => bail!("{metric} of {uuid} is {ours:?}, by nvidia-smi {before:?}"),
        }
    }
}

/// The model is on one of these GPUs, of whose memory it has taken what it needs.
fn placed(idle: &[Gpu], metrics: &str, gpus: &BTreeSet<&str>) -> Result<String> {
    let info = samples(metrics, "ostro_model_device_info").next().context("no ostro_model_device_info")?;
    let uuid = info.label("uuid");
    ensure!(info.label("device") == "cuda", "the model runs on {}", info.label("device"));
    ensure!(gpus.contains(uuid), "the model runs on {uuid:?}, which nvidia-smi does not have");
    let needed = bytes(metrics, "ostro_kv_cache_bytes")? + bytes(metrics, "ostro_model_weight_bytes")?;
    let used = samples(metrics, PAIRS[1].metric).find(|sample| sample.label("uuid") == uuid);
    let used = used.with_context(|| format!("no {} of {uuid}", PAIRS[1].metric))?.value;
    let idle = idle.iter().find(|gpu| gpu.uuid == uuid).and_then(PAIRS[1].read);
    let idle = idle.with_context(|| format!("nvidia-smi did not tell the memory of {uuid} in use before"))?;
    let taken = used - idle;
    ensure!(needed <= taken + PAIRS[1].slack, "the model takes {needed} bytes, of {uuid} {taken} were taken");
    Ok(format!("the model is on {uuid}"))
}

/// Of all label sets; none is an error, and so is nothing.
fn bytes(metrics: &str, name: &str) -> Result<f64> {
    let mut found = samples(metrics, name).peekable();
    found.peek().with_context(|| format!("no {name}"))?;
    let bytes = total(found);
    ensure!(bytes > 0.0, "{name} is {bytes}");
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const METRICS: &str = r#"
ostro_gpu_memory_total_bytes{uuid="GPU-1",gpu="0",name="NVIDIA H200"} 150754820096.0
ostro_gpu_memory_used_bytes{uuid="GPU-1",gpu="0",name="NVIDIA H200"} 629200000.0
ostro_gpu_temperature_celsius{uuid="GPU-1",gpu="0",name="NVIDIA H200"} 27.0
ostro_model_device_info{model_name="tiny.gguf",device="cuda",uuid="GPU-1",name="NVIDIA H200"} 1
ostro_kv_cache_bytes{model_name="tiny.gguf"} 67108864.0
ostro_model_weight_bytes{model_name="tiny.gguf"} 100000.0
"#;

    fn gpu(used_mib: f64, celsius: Option<f64>) -> Gpu {
        Gpu { uuid: "GPU-1".into(), total_mib: Some(143_771.0), used_mib: Some(used_mib), celsius }
    }

    #[test]
    fn what_is_the_same_is_told() {
        let expected = "ostro_gpu_memory_total_bytes 150754820096; ostro_gpu_memory_used_bytes 629200000; \
                        ostro_gpu_temperature_celsius 27; the model is on GPU-1";
        // The memory changed meanwhile, and the temperature is told in other moments.
        let (before, after) = (gpu(500.0, Some(25.0)), gpu(600.0, Some(26.0)));
        assert_eq!(compare(&[gpu(450.0, None)], &[before], METRICS, &[after]).unwrap(), expected);
    }

    #[test]
    fn what_differs_is_named() {
        let fails = |metrics: &str, gpus: &[Gpu], words: &str| {
            let error = compare(&[gpu(500.0, None)], gpus, metrics, gpus).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        };
        let same = [gpu(600.0, Some(27.0))];
        fails(METRICS, &[gpu(590.0, Some(27.0))], "ostro_gpu_memory_used_bytes of GPU-1 is 629200000");
        fails(METRICS, &[gpu(600.0, Some(35.0))], "ostro_gpu_temperature_celsius of GPU-1 is 27");
        fails(METRICS, &[gpu(600.0, None)], "is Some(27.0), by nvidia-smi None");
        fails(METRICS, &[], "nvidia-smi has {}, the metrics have {\"GPU-1\"}");
        fails("", &same, "nvidia-smi has {\"GPU-1\"}, the metrics have {}");
        let change = |from: &str, to: &str| METRICS.replacen(from, to, 1);
        fails(&change("150754820096", "85520809984"), &same, "ostro_gpu_memory_total_bytes of GPU-1");
        fails(&change("ostro_model_device_info", "x"), &same, "no ostro_model_device_info");
        fails(&change("\"cuda\"", "\"cpu\""), &same, "the model runs on cpu");
        fails(&change("\"cuda\",uuid=\"GPU-1\"", "\"cuda\",uuid=\"GPU-2\""), &same, "runs on \"GPU-2\"");
        fails(&change("67108864", "967108864"), &same, "the model takes 967208864 bytes");
        fails(&change("ostro_kv_cache_bytes", "x"), &same, "no ostro_kv_cache_bytes");
        fails(&change("ostro_model_weight_bytes", "x"), &same, "no ostro_model_weight_bytes");
        fails(&change("100000.0", "0.0"), &same, "ostro_model_weight_bytes is 0");
    }

    #[test]
    fn memory_that_was_in_use_before_holds_no_model() {
        let same = [gpu(600.0, Some(27.0))];
        let unknown = Gpu { used_mib: None, ..gpu(0.0, None) };
        for (idle, words) in [
            (vec![gpu(580.0, None)], "the model takes 67208864 bytes, of GPU-1 21025920 were taken"),
            (vec![unknown], "did not tell the memory of GPU-1 in use before"),
            (vec![], "did not tell the memory of GPU-1 in use before"),
        ] {
            let error = compare(&idle, &same, METRICS, &same).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
