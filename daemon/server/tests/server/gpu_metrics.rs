//! GPUs in the metrics, by a library made here in the place of NVIDIA's (`fake_nvml.c`).

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use futures::future::join_all;
use ostro_server::RouterOptions;
use tempfile::TempDir;

use crate::fixture::Fixture;
use crate::skipped;

/// What the library's GPUs answer; the second has no power reading.
const LINES: [&str; 9] = [
    r#"ostro_gpu_utilization_ratio{uuid="GPU-00000000-0000-4000-8000-000000000001",gpu="0",name="NVIDIA H100 80GB HBM3"} 0.37"#,
    r#"ostro_gpu_utilization_ratio{uuid="GPU-00000000-0000-4000-8000-000000000002",gpu="1",name="NVIDIA H100 80GB HBM3"} 1.0"#,
    r#"ostro_gpu_memory_used_bytes{uuid="GPU-00000000-0000-4000-8000-000000000001",gpu="0",name="NVIDIA H100 80GB HBM3"} 1073741824.0"#,
    r#"ostro_gpu_memory_used_bytes{uuid="GPU-00000000-0000-4000-8000-000000000002",gpu="1",name="NVIDIA H100 80GB HBM3"} 42949672960.0"#,
    r#"ostro_gpu_memory_total_bytes{uuid="GPU-00000000-0000-4000-8000-000000000001",gpu="0",name="NVIDIA H100 80GB HBM3"} 85520809984.0"#,
    r#"ostro_gpu_memory_total_bytes{uuid="GPU-00000000-0000-4000-8000-000000000002",gpu="1",name="NVIDIA H100 80GB HBM3"} 85520809984.0"#,
    r#"ostro_gpu_temperature_celsius{uuid="GPU-00000000-0000-4000-8000-000000000001",gpu="0",name="NVIDIA H100 80GB HBM3"} 41.0"#,
    r#"ostro_gpu_temperature_celsius{uuid="GPU-00000000-0000-4000-8000-000000000002",gpu="1",name="NVIDIA H100 80GB HBM3"} 68.0"#,
    r#"ostro_gpu_power_watts{uuid="GPU-00000000-0000-4000-8000-000000000001",gpu="0",name="NVIDIA H100 80GB HBM3"} 123.456"#,
];

const DASHBOARD: &str = include_str!("../../../../charts/ostro-operator/files/dashboards/models.json");

/// A library of its own for each test, in a folder that steers it.
struct Nvml {
    folder: TempDir,
    library: PathBuf,
}

impl Nvml {
    /// Nothing where there is no C compiler.
    fn build() -> Option<Nvml> {
        let folder = tempfile::tempdir().unwrap();
        let library = folder.path().join("libnvidia-ml.so.1");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/server/fake_nvml.c");
        let output = Command::new("cc")
            .args(["-shared", "-fPIC", "-Wall", "-Wextra", "-Werror"])
            .arg(format!("-DFOLDER=\"{}\"", folder.path().display()))
            .arg("-o")
            .args([&library, &source])
            .output();
        match output {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                skipped::tell("there is no `cc` to build a library with");
                None
            }
            output => {
                let output = output.unwrap();
                assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
                Some(Nvml { folder, library })
            }
        }
    }

    fn set(&self, state: &str) {
        std::fs::write(self.folder.path().join(state), "").unwrap();
    }

    /// How often the GPUs were counted, as every reading does once.
    fn counts(&self) -> usize {
        std::fs::read(self.folder.path().join("counts")).unwrap().len()
    }
}

async fn serve(library: &Path) -> Fixture {
    Fixture::with(RouterOptions { nvml_library: library.to_owned(), ..RouterOptions::default() }, 8).await
}

async fn scrape(server: &Fixture) -> String {
    let answer = server.get("/metrics").await;
    assert_eq!(answer.status, 200);
    answer.text
}

/// Once the GPUs have answered, which on a busy machine may take longer than a scrape waits.
async fn scrape_gpus(server: &Fixture) -> String {
    let began = Instant::now();
    loop {
        let text = scrape(server).await;
        if text.contains("ostro_gpu_") {
            return text;
        }
        assert!(began.elapsed() < Duration::from_secs(30), "{text}");
    }
}

fn samples(text: &str) -> Vec<&str> {
    text.lines().filter(|line| line.starts_with("ostro_gpu_")).collect()
}

#[tokio::test]
async fn each_gpu_shows_what_it_answers() {
    let Some(nvml) = Nvml::build() else { return };
    let server = serve(&nvml.library).await;
    let text = scrape_gpus(&server).await;
    assert_eq!(samples(&text), LINES, "{text}");
    let head = "# HELP ostro_gpu_power_watts Power draw of the GPU and its memory\n\
                # TYPE ostro_gpu_power_watts gauge\nostro_gpu_power_watts{";
    assert!(text.contains(head), "{text}");
}

#[test]
fn the_dashboard_asks_for_what_gpus_show() {
    let ends_name = |letter: char| !(letter.is_ascii_lowercase() || letter == '_');
    let name = |rest: &'static str| rest.split(ends_name).next().unwrap();
    let uses = DASHBOARD.match_indices("ostro_gpu_");
    let asked: Vec<&str> = uses.map(|(at, _)| name(&DASHBOARD[at..])).collect();
    assert!(!asked.is_empty());
    for metric in asked {
        assert!(LINES.iter().any(|line| line.split('{').next() == Some(metric)), "{metric}");
    }
}

#[tokio::test]
async fn scrapes_at_one_time_share_a_reading() {
    let Some(nvml) = Nvml::build() else { return };
    let server = serve(&nvml.library).await;
    let began = Instant::now();
    join_all((0..20).map(|_| scrape_gpus(&server))).await;
    // Each half second, one that the first asked for and one that another asked for while it was made.
    let counts_max = 2 * (1 + began.elapsed().as_millis() / 500);
    assert!(nvml.counts() as u128 <= counts_max, "{} > {counts_max}", nvml.counts());
}

#[tokio::test]
async fn a_gpu_that_is_lost_takes_its_lines_along() {
    let Some(nvml) = Nvml::build() else { return };
    let server = serve(&nvml.library).await;
    assert_eq!(samples(&scrape_gpus(&server).await), LINES);
    nvml.set("lost");
    let began = Instant::now();
    loop {
        let text = scrape_gpus(&server).await;
        let left = samples(&text);
        if left.len() < LINES.len() {
            let others = LINES.iter().filter(|line| line.contains(r#"gpu="0""#)).copied();
            assert_eq!(left, others.collect::<Vec<_>>(), "{text}");
            return;
        }
        assert!(began.elapsed() < Duration::from_secs(10), "{text}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_library_that_hangs_holds_a_scrape_for_a_second() {
    let Some(nvml) = Nvml::build() else { return };
    nvml.set("hang");
    let server = serve(&nvml.library).await;
    let began = Instant::now();
    let text = scrape(&server).await;
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    assert!(!text.contains("ostro_gpu_") && text.contains("ostro_model_loaded{"), "{text}");
}

#[tokio::test]
async fn without_a_library_there_is_no_line() {
    let folder = tempfile::tempdir().unwrap();
    let no_library = folder.path().join("text");
    std::fs::write(&no_library, "not a library").unwrap();
    for library in [folder.path().join("missing"), no_library] {
        let server = serve(&library).await;
        let text = scrape(&server).await;
        assert!(!text.contains("ostro_gpu_") && text.contains("ostro_model_loaded{"), "{text}");
    }
}
