//! The whole of `gpu check`, on a folder whose programs are scripts.

use std::os::unix::fs::PermissionsExt;

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
const BENCH: &str = r#"echo '{"model": {"instruction_set": "H200, compute capability 9.0"},
    "prefill": [{"prompt_tokens": 512, "tokens_per_second": 9000.0}], "decode": []}'"#;
const MIXED: &str =
    "[ -s $1 ] && echo 'loaded in 1 s on compute capability 9.0' && echo '5 requests: 70 output tokens/s'";
const PEER: &str = r#"echo '[{"n_gen": 0, "n_prompt": 512, "avg_ts": 4500.0}]'"#;

fn script(path: &Path, text: &str) {
    fs::write(path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// A folder as `gpu pack` writes it; `cuda` runs the script.
fn packed(cuda: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    let packed = Packed::new(folder.path());
    fs::create_dir_all(packed.programs()).unwrap();
    for name in PROGRAMS {
        let text = match name {
            "ostro" => BENCH,
            "random_model" => "echo $1 >$2",
            "mixed_load" => MIXED,
            "cuda" => cuda,
            _ => TESTS,
        };
        script(&packed.program(name), text);
    }
    script(&folder.path().join("llama-bench"), PEER);
    fs::write(packed.revision(), "1a2b").unwrap();
    folder
}

/// The table's rows without their times, but for that of nvidia-smi, which may be missing here.
fn rows(folder: &TempDir, words: &[&str]) -> (Vec<String>, String) {
    let out = folder.path().join("table.md");
    let line: Vec<_> = ["check", folder.path().to_str().unwrap(), "--out", out.to_str().unwrap()].into();
    let error = run(&Line::parse_from([&line[..], words].concat()).options).err();
    let table = fs::read_to_string(out).unwrap();
    let rows = table.lines().skip(5).filter_map(|row| row.rsplitn(3, " |").last().map(str::to_owned));
    (rows.collect(), error.map(|error| error.to_string()).unwrap_or_default())
}

#[test]
fn every_check_has_a_row() {
    let folder = packed(TESTS);
    let peer = folder.path().join("llama-bench");
    let (rows, error) = rows(&folder, &["--shapes", "small", "--peer", peer.to_str().unwrap()]);
    assert!(rows[2].starts_with("| small: write random weights | 0.0 GB in /"), "{}", rows[2]);
    let expected = [
        "| engine tests: cuda | 3 passed; 0 failed; 0 ignored",
        "| engine tests: golden | 3 passed; 0 failed; 0 ignored",
        &rows[2],
        "| small: ostro bench | 1 rates",
        "| small: mixed load | 5 requests: 70 output tokens/s",
        "| small: llama-bench | 1 rates",
        "| small: prefill 512 | 9000 tok/s; llama.cpp 4500, 2.00 times better",
    ];
    assert_eq!(rows, expected);
    // This machine may have no GPU.
    assert!(error.is_empty() || error == "1 checks failed", "{error}");
    let file = rows[2].rsplit(" in ").next().unwrap();
    assert!(!Path::new(file).exists(), "{file} is left behind");
}

#[test]
fn what_fails_or_hangs_or_sees_no_gpu_is_told() {
    for (cuda, told) in [
        ("echo 'CUDA error 700' >&2; exit 101", "**failed**: exit status: 101: CUDA error 700"),
        ("exec sleep 60", "did not end within 1s"),
        (
            &format!("echo 'test a ... skipped: no driver'; {TESTS}"),
            "**failed**: tests were skipped: no driver",
        ),
    ] {
        let (rows, error) = rows(&packed(cuda), &["--shapes", "", "--limit", "1"]);
        assert!(rows[0].contains(told), "{}", rows[0]);
        assert_eq!(rows.len(), 2, "the rest goes on");
        assert!(error.ends_with("checks failed"), "{error}");
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
