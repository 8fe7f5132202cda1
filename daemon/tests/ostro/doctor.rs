//! `ostro doctor` on whatever machine the tests run on.

use serde_json::Value;

use crate::support::Home;

#[test]
fn every_check_has_its_line() {
    let home = Home::new();
    let ended = home.run(&["doctor"]);
    assert_eq!((ended.code, ended.errors.as_str()), (Some(0), ""), "{ended:?}");
    let names = ["build ", "cpu ", "memory ", "gpu ", "hub cache "];
    for name in names {
        assert!(ended.output.lines().any(|line| line[9..].starts_with(name)), "{name}: {ended:?}");
    }
    let folder = home.folder.path().join(".cache/huggingface/hub");
    assert!(ended.output.contains(folder.to_str().unwrap()), "{ended:?}");
    assert!(!folder.exists(), "looking creates nothing");
}

#[test]
fn programs_get_the_facts_and_the_checks() {
    let ended = Home::new().run(&["doctor", "--json"]);
    let report: Value = serde_json::from_str(&ended.output).unwrap();
    assert!(report["cpu"]["threads"].as_u64() > Some(0), "{report}");
    assert!(report["memory"]["total_bytes"].as_u64() > Some(0), "{report}");
    assert!(report["gpus"].is_array() && report["hub"].is_null(), "{report}");
    let checks = report["checks"].as_array().unwrap();
    assert!(checks.len() >= 5 && checks.iter().all(|check| check["state"].is_string()), "{report}");
}

#[test]
fn failed_checks_fail_the_command() {
    let home = Home::new();
    home.write("file", "");
    // Nobody listens on port 9, the one for discarding.
    let variables = [("HF_HOME", "file"), ("HF_ENDPOINT", "http://127.0.0.1:9"), ("OSTRO_CPU", "mmx")];
    let output = home.command(&["doctor", "--hub"]).envs(variables).output().unwrap();
    let (checks, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!((output.status.code(), errors.as_ref()), (Some(1), "error: 3 checks failed\n"), "{checks}");
    let failed: Vec<&str> = checks.lines().filter(|line| line.starts_with("failed ")).collect();
    let [cpu, cache, hub] = failed[..] else { panic!("{checks}") };
    assert!(cpu.contains("OSTRO_CPU = \"mmx\""), "{cpu}");
    assert!(cache.contains("cannot write to file/hub: file is not a folder"), "{cache}");
    assert!(hub.contains("http://127.0.0.1:9 cannot be reached: "), "{hub}");
}

#[test]
fn hub_is_left_alone_offline() {
    let home = Home::new();
    let variables = [("HF_HUB_OFFLINE", "1"), ("HF_ENDPOINT", "http://127.0.0.1:9")];
    let output = home.command(&["doctor", "--hub"]).envs(variables).output().unwrap();
    let checks = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{checks}");
    assert!(checks.contains("not asked: HF_HUB_OFFLINE is set"), "{checks}");
}

#[test]
fn credentials_of_the_hub_are_not_told() {
    let variables = [("HF_ENDPOINT", "http://bot:s3cret@127.0.0.1:9")];
    let output = Home::new().command(&["doctor", "--hub", "--json"]).envs(variables).output().unwrap();
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(report.contains("\"http://127.0.0.1:9\"") && !report.contains("s3cret"), "{report}");
}
