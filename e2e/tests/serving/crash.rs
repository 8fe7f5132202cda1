//! A daemon that ends without a word: its kubelet starts it again, and the object tells.

use std::process::Command;

use serde_json::{Value, json};

use crate::clients::{answer, ostro};
use crate::objects::{await_ready, get, pods};
use crate::support::{Cluster, await_until};

/// One of two is killed; the other answers until there are two again.
pub(crate) fn kill(cluster: &Cluster) {
    let pods = pods(cluster, "chat");
    let [killed, other] = pods.as_slice() else { panic!("not two pods: {pods:#?}") };
    let pid = process_of(killed, "ostro").expect("the daemon runs on this machine").to_string();
    assert!(Command::new("kill").args(["-KILL", &pid]).status().unwrap().success());
    let name = killed["metadata"]["name"].as_str().unwrap();
    let greedy = json!({ "temperature": 0, "max_tokens": 8 });
    let mut answers = 0;
    let mut status = json!(null);
    await_until("the daemon to start again", || {
        assert!(answer(cluster, other, &greedy).contains("Paris"));
        answers += 1;
        status = get(cluster, &["pod", name])["status"]["containerStatuses"][0].clone();
        status["restartCount"] == 1 && status["ready"] == true
    });
    eprintln!("  {answers} answers meanwhile");
    assert_eq!(status["lastState"]["terminated"]["exitCode"], 137, "{status}");
    await_ready(cluster, "chat");
    let (code, text) = ostro(cluster, &["status", "chat"]);
    let line = text.lines().find(|line| line.contains(name)).unwrap();
    assert!(code == 0 && line.contains(" 1 restart "), "{text}");
}

/// The number that this machine gives a program of a pod: it is in a control group of the pod.
pub(crate) fn process_of(pod: &Value, program: &str) -> Option<u32> {
    let group = format!("/pod{}/", pod["metadata"]["uid"].as_str().unwrap());
    let read = |pid: u32, file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).ok();
    let names = std::fs::read_dir("/proc").unwrap().map_while(Result::ok).map(|entry| entry.file_name());
    let mut pids = names.filter_map(|name| name.to_str()?.parse().ok());
    pids.find(|pid| {
        let is_program = read(*pid, "comm").is_some_and(|name| name.trim() == program);
        is_program && read(*pid, "cgroup").is_some_and(|groups| groups.contains(&group))
    })
}
