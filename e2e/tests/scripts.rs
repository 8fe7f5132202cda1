//! The scripts beside these tests, where they could pass without having done anything, or do what is done already.
#![allow(clippy::unwrap_used)] // the helpers of a test fail like the test

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use ostro_e2e::skipped;

const SCRIPTS: &str = env!("CARGO_MANIFEST_DIR");

fn write_script(path: &Path, text: &str) {
    std::fs::write(path, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

fn run(machine: &Path, program: &Path) -> Output {
    Command::new(format!("{SCRIPTS}/avx512/run.sh"))
        .arg(program)
        .env("OSTRO_AVX512_MACHINE", machine)
        .output()
        .unwrap()
}

#[test]
fn kernels_are_not_tested_without_a_machine() {
    let folder = tempfile::tempdir().unwrap();
    let ended = run(&folder.path().join("a b"), "/deps/other-1".as_ref());
    let told = String::from_utf8(ended.stderr).unwrap();
    assert!(ended.status.code() == Some(1) && told.contains("no emulated machine in /"), "{told}");
}

/// A machine that says what a test program would.
#[test]
fn kernels_are_tested_by_one_test_at_least() {
    if !cfg!(target_arch = "x86_64") || Command::new("busybox").output().is_err() {
        return skipped::tell("there is no busybox, or no assembler for x86-64");
    }
    let folder = tempfile::tempdir().unwrap();
    let (machine, program) = (folder.path().join("a b"), folder.path().join("ostro_kernels-1"));
    std::fs::create_dir(&machine).unwrap();
    std::fs::write(machine.join("entry"), "0x1000000").unwrap();
    std::fs::write(machine.join("linux"), "").unwrap();
    std::fs::copy("/bin/true", &program).unwrap();
    let bochs = machine.join("bochs");
    for (said, code) in [
        ("running 1 test\nexit status 0", 0),
        ("running 1 test\nexit status 101", 101),
        ("running 0 tests\nexit status 0", 1),
        ("running 1 test", 1),
    ] {
        write_script(&bochs, &format!("echo '{said}' >&3"));
        let ended = run(&machine, &program);
        assert_eq!(ended.status.code(), Some(code), "{said}: {}", String::from_utf8_lossy(&ended.stderr));
    }
}

#[test]
fn words_of_the_quick_start_are_the_tools() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    std::fs::create_dir(folder.join("release")).unwrap();
    let tool = folder.join("release/ostro-e2e");
    write_script(&folder.join("cargo"), "echo built");
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
    let check = |words: &[&str], expected: &str| {
        let mut command = Command::new(format!("{SCRIPTS}/quickstart.sh"));
        command.args(words).env("CARGO_TARGET_DIR", folder).env("HOME", folder).env("PATH", &path);
        let ended = command.output().unwrap();
        assert_eq!(String::from_utf8_lossy(&ended.stdout), expected, "{words:?}: {ended:?}");
    };
    check(&["--stop"], "built\n");
    write_script(&tool, "echo \"$@\"");
    check(&["--stop"], "quickstart --stop\n");
    check(&["--prompt", "--stop"], "built\nquickstart --prompt --stop\n");
    check(&[], "built\nquickstart\n");
}

#[test]
fn go_that_cannot_fetch_its_successor_is_none() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["apt-get", "sudo"] {
        write_script(&folder.path().join(name), "");
    }
    let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap());
    for (said, code) in
        [("go version go1.19.8 linux/amd64", 1), ("go version go1.26.8 linux/amd64", 0), ("", 1)]
    {
        write_script(&folder.path().join("go"), &format!("echo '{said}'"));
        let mut command = Command::new("bash");
        command.args(["-c", ". ./setup.sh; has_go"]).current_dir(SCRIPTS).env("PATH", &path);
        let ended = command.output().unwrap();
        assert_eq!(ended.status.code(), Some(code), "{said}: {}", String::from_utf8_lossy(&ended.stderr));
    }
}

#[test]
fn programs_of_root_are_not_installed_again() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["apt-get", "sudo"] {
        write_script(&folder.path().join(name), "exit 1");
    }
    let path = std::env::var_os("PATH").unwrap();
    let users = std::env::split_paths(&path).filter(|folder| !folder.ends_with("sbin"));
    let path = std::env::join_paths([folder.path().to_owned()].into_iter().chain(users)).unwrap();
    let mut command = Command::new("bash");
    command.args(["-c", ". ./setup.sh ldconfig:of-root"]).current_dir(SCRIPTS).env("PATH", path);
    let ended = command.output().unwrap();
    let told = String::from_utf8(ended.stderr).unwrap();
    // Other packages may be missing.
    assert!(ended.status.success() || told.contains("installing "), "{told}");
    assert!(!told.contains("of-root"), "{told}");
}
