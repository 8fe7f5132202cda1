//! The whole of `gpu check`, on a folder whose programs are scripts.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::time::Instant;

use clap::Parser;
use tempfile::TempDir;

use super::super::packed::PROGRAMS;
use super::*;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    options: Options,
}

const TESTS: &str = "echo 'test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured'";
/// A line as `nvidia-smi` has it for its query; more memory is in use once `ostro serve` runs.
const SMI: &str = r#"
used=500
[ ! -e "${0%/*}/bin/ostro.port" ] || used=600
case $1 in -L) echo 'GPU 0: H200' ;; *) echo "GPU-1, 143771, $used, 27" ;; esac"#;
/// `serve` leaves its port to the test, which answers in its place.
const OSTRO: &str = r#"
case $1 in
doctor) cat "$0.doctor"; exec grep -qv failed "$0.doctor" ;;
serve) echo "$5" >"$0.port.new"; mv "$0.port.new" "$0.port"; exec sleep 60 ;;
esac"#;
const DOCTOR: &str = r#"{"checks": [{"name": "gpu", "state": "ok", "text": "0: H200"}]}"#;
const METRICS: &str = r#"ostro_gpu_memory_total_bytes{uuid="GPU-1",gpu="0",name="H200"} 150754820096
ostro_gpu_memory_used_bytes{uuid="GPU-1",gpu="0",name="H200"} 629145600
ostro_gpu_temperature_celsius{uuid="GPU-1",gpu="0",name="H200"} 27
ostro_model_device_info{model_name="tiny.gguf",device="cuda",uuid="GPU-1",name="H200"} 1
ostro_kv_cache_bytes{model_name="tiny.gguf"} 67108864
ostro_model_weight_bytes{model_name="tiny.gguf"} 100000
"#;
const BENCH: &str = r#"echo '{"model": {"instruction_set": "H200, compute capability 9.0"},
    "prefill": [{"prompt_tokens": 512, "tokens_per_second": 9000.0}], "decode": []}'"#;
const MIXED: &str =
    "[ -s $1 ] && echo 'loaded in 1 s on compute capability 9.0' && echo '5 requests: 70 output tokens/s'";
const PEER: &str = r#"echo '[{"n_gen": 0, "n_prompt": 512, "avg_ts": 4500.0}]'"#;

fn script(path: &Path, text: &str) {
    fs::write(path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// A folder as `gpu pack` writes it.
fn packed() -> TempDir {
    let folder = TempDir::new().unwrap();
    let packed = Packed::new(folder.path());
    fs::create_dir_all(packed.programs()).unwrap();
    let ostro = format!("{OSTRO}\n{BENCH}");
    let [cuda, golden] = ["emulat", "long_prompts"]
        .map(|left_out| format!("[ \"$1 $2\" = '--skip {left_out}' ] || exit 1\n{TESTS}"));
    for name in PROGRAMS {
        let text = match name {
            "ostro" => ostro.as_str(),
            "kernels_cuda" | "cuda" => cuda.as_str(),
            "golden" => golden.as_str(),
            "random_model" => "echo $1 >$2",
            "mixed_load" => MIXED,
            _ => TESTS,
        };
        script(&packed.program(name), text);
    }
    fs::write(packed.program("ostro.doctor"), DOCTOR).unwrap();
    script(&folder.path().join("llama-bench"), PEER);
    script(&folder.path().join("nvidia-smi"), SMI);
    fs::write(packed.revision(), "1a2b").unwrap();
    folder
}

/// Answers like a daemon with one model, on the port that `ostro serve` was given.
fn serve(port_file: PathBuf, metrics: String) {
    let start = Instant::now();
    while !port_file.exists() {
        if start.elapsed() > Duration::from_secs(30) {
            return; // an earlier check failed the test
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let port: u16 = fs::read_to_string(port_file).unwrap().trim().parse().unwrap();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
    for stream in listener.incoming().map_while(Result::ok) {
        let mut head = BufReader::new(&stream).lines().map_while(Result::ok);
        let is_metrics = head.next().is_some_and(|line| line.starts_with("GET /metrics "));
        let _ = head.find(String::is_empty);
        let models = r#"{"data": [{"id": "tiny.gguf", "status": "loaded"}]}"#;
        let body = if is_metrics { &metrics } else { models };
        let length = body.len();
        let _ =
            write!(&stream, "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
    }
}

/// The table's rows without their times.
fn rows(folder: &TempDir, words: &[&str]) -> (Vec<String>, String) {
    rows_beside(folder, METRICS, words)
}

fn rows_beside(folder: &TempDir, metrics: &str, words: &[&str]) -> (Vec<String>, String) {
    let (port_file, metrics) = (folder.path().join("bin/ostro.port"), metrics.to_owned());
    // It ends with the tests.
    std::thread::spawn(move || serve(port_file, metrics));
    let (out, smi) = (folder.path().join("table.md"), folder.path().join("nvidia-smi"));
    let paths = [folder.path(), &out, &smi].map(|path| path.to_str().unwrap());
    let line = ["check", paths[0], "--out", paths[1], "--nvidia-smi", paths[2]];
    let error = run(&Line::parse_from([&line[..], words].concat()).options).err();
    let table = fs::read_to_string(out).unwrap();
    let rows = table.lines().skip(4).filter_map(|row| row.rsplitn(3, " |").last().map(str::to_owned));
    (rows.collect(), error.map(|error| error.to_string()).unwrap_or_default())
}

#[test]
fn every_check_has_a_row() {
    let folder = packed();
    let peer = folder.path().join("llama-bench");
    let (rows, error) = rows(&folder, &["--shapes", "small", "--peer", peer.to_str().unwrap()]);
    assert!(rows[6].starts_with("| small: write random weights | 0.0 GB in /"), "{}", rows[6]);
    let expected = [
        "| nvidia-smi -L | GPU 0: H200",
        "| ostro doctor | gpu 0: H200",
        "| kernels tests: cuda | 3 passed; 0 failed; 0 ignored",
        "| engine tests: cuda | 3 passed; 0 failed; 0 ignored",
        "| engine tests: golden | 3 passed; 0 failed; 0 ignored",
        "| metrics beside nvidia-smi | ostro_gpu_memory_total_bytes 150754820096; ostro_gpu_memory_used_bytes \
         629145600; ostro_gpu_temperature_celsius 27; the model is on GPU-1",
        &rows[6],
        "| small: ostro bench | 1 rates",
        "| small: mixed load | 5 requests: 70 output tokens/s",
        "| small: llama-bench | 1 rates",
        "| small: prefill 512 | 9000 tok/s; llama.cpp 4500, 2.00 times better",
    ];
    assert_eq!(rows, expected);
    assert_eq!(error, "");
    let file = rows[6].rsplit(" in ").next().unwrap();
    assert!(!Path::new(file).exists(), "{file} is left behind");
}

/// In a process of its own, which a signal ends while the model is measured.
#[test]
fn a_signal_leaves_no_model_behind() {
    const TOLD: &str = "OSTRO_TEST_TOLD";
    if std::env::var_os(TOLD).is_some() {
        let folder = packed();
        let packed = Packed::new(folder.path());
        script(&packed.program("random_model"), &format!("echo $1 >$2; echo $2 >${TOLD}"));
        script(&packed.program("mixed_load"), "kill $PPID; sleep 5");
        rows(&folder, &["--shapes", "small"]);
        return;
    }
    let folder = TempDir::new().unwrap();
    let told = folder.path().join("told");
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "gpu::check::tests::a_signal_leaves_no_model_behind"]);
    let ended = command.env(TOLD, &told).env("TMPDIR", folder.path()).output().unwrap();
    assert_eq!(ended.status.code(), Some(130), "{ended:?}");
    let file = fs::read_to_string(told).unwrap();
    assert!(!Path::new(file.trim()).exists(), "{file} is left behind");
}

#[test]
fn what_fails_or_hangs_or_sees_no_gpu_is_told() {
    let check = |row: usize, program: &str, text: &str, told: &str| {
        let folder = packed();
        script(&Packed::new(folder.path()).program(program), text);
        // What does not hang has all the time that a busy machine needs.
        let limit = if text.contains("sleep") { "1" } else { "60" };
        let (rows, error) = rows(&folder, &["--shapes", "", "--limit", limit]);
        assert!(rows[row].contains(told), "{}", rows[row]);
        assert_eq!(rows.len(), 6, "the rest goes on");
        assert!(limit == "1" || error == "1 checks failed", "{error}");
    };
    for (row, program) in [(2, "kernels_cuda"), (3, "cuda")] {
        let failed = "**failed**: exit status: 101: CUDA error 700";
        check(row, program, "echo 'CUDA error 700' >&2; exit 101", failed);
        check(row, program, "exec sleep 60", "did not end within 1s");
        let skipped = format!("echo 'test a ... skipped: no driver'; {TESTS}");
        check(row, program, &skipped, "**failed**: tests were skipped: no driver");
    }
    check(5, "tiny_model", "exit 1", "**failed**: ");
}

#[test]
fn what_the_doctor_finds_wrong_fails() {
    for (report, told) in [
        (DOCTOR.replace("ok", "failed"), "| ostro doctor | **failed**: failed: gpu 0: H200"),
        (String::new(), "| ostro doctor | **failed**: exit status: 1, without a report: "),
    ] {
        let folder = packed();
        fs::write(folder.path().join("bin/ostro.doctor"), report).unwrap();
        let (rows, error) = rows(&folder, &["--shapes", ""]);
        assert_eq!((rows[1].as_str(), error.as_str()), (told.trim_end(), "1 checks failed"));
    }
}

#[test]
fn metrics_that_differ_from_nvidia_smi_fail() {
    for (from, to, told) in [
        ("629145600", "629145", "ostro_gpu_memory_used_bytes of GPU-1 is 629145, by nvidia-smi 629145600"),
        ("} 27", "} 72", "ostro_gpu_temperature_celsius of GPU-1 is 72, by nvidia-smi 27"),
        ("GPU-1", "GPU-2", "nvidia-smi has {\"GPU-1\"}, the metrics have {\"GPU-2\"}"),
        ("cuda", "cpu", "the model runs on cpu"),
        ("ostro_model_weight_bytes", "x", "no ostro_model_weight_bytes"),
        ("} 67108864", "} 967108864", "the model takes 967208864 bytes, of GPU-1 104857600 were taken"),
    ] {
        let (rows, error) = rows_beside(&packed(), &METRICS.replace(from, to), &["--shapes", ""]);
        assert!(rows[5].starts_with("| metrics beside nvidia-smi | **failed**: "), "{}", rows[5]);
        assert!(rows[5].contains(told) && error == "1 checks failed", "{}: {error}", rows[5]);
    }
}

#[test]
fn a_link_is_made_where_nothing_is_and_goes_again() {
    let folder = TempDir::new().unwrap();
    let (at, target) = (folder.path().join("a/b/golden"), folder.path().join("packed"));
    fs::create_dir(&target).unwrap();
    assert!(Link::ensure(&target, &at).unwrap().is_none());
    let link = Link::ensure(&at, &target).unwrap();
    assert_eq!(fs::read_link(&at).unwrap(), target);
    drop(link);
    assert!(!at.exists());
}

#[test]
fn a_link_that_a_killed_run_left_is_replaced() {
    let folder = TempDir::new().unwrap();
    let [at, target, other] = ["golden", "packed", "other"].map(|name| folder.path().join(name));
    fs::create_dir(&target).unwrap();
    fs::create_dir(&other).unwrap();
    for left in [other.as_path(), Path::new("/no/such")] {
        symlink(left, &at).unwrap();
        let link = Link::ensure(&at, &target).unwrap();
        assert_eq!(fs::read_link(&at).unwrap(), target);
        drop(link);
    }
}
