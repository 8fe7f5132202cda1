//! The scripts beside these tests, where they could pass without having done anything.
#![allow(clippy::unwrap_used)] // the helpers of a test fail like the test

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use ostro_e2e::skipped;

fn run(machine: &Path, program: &Path) -> Output {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/avx512/run.sh");
    Command::new(script).arg(program).env("OSTRO_AVX512_MACHINE", machine).output().unwrap()
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
        std::fs::write(&bochs, format!("#!/bin/sh\necho '{said}' >&3")).unwrap();
        std::fs::set_permissions(&bochs, std::fs::Permissions::from_mode(0o755)).unwrap();
        let ended = run(&machine, &program);
        assert_eq!(ended.status.code(), Some(code), "{said}: {}", String::from_utf8_lossy(&ended.stderr));
    }
}
