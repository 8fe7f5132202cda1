use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::*;

fn sleeper() -> Child {
    Command::new("sleep").arg("60").stdin(Stdio::null()).spawn().unwrap()
}

fn process(child: &Child) -> Process {
    Process::of("sleep", child.id(), PathBuf::from("sleep.log")).unwrap()
}

#[test]
fn a_state_comes_back_as_it_was_saved() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("state.json");
    assert_eq!(State::load(&path).unwrap(), None);
    let mut child = sleeper();
    let mut state = State::new(Shape::Nodes { nodes: 2 });
    state.processes.push(process(&child));
    state.save(&path).unwrap();
    assert_eq!(State::load(&path).unwrap(), Some(state));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    std::fs::write(&path, "{\"shape\":").unwrap();
    let error = State::load(&path).unwrap_err().to_string();
    assert!(error.contains("state.json"), "{error}");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_process_is_killed_and_seen_to_end() {
    let mut child = sleeper();
    let ours = process(&child);
    let mut state = State::new(Shape::ControlPlane { nodes: 1 });
    state.processes.push(ours.clone());
    assert!(ours.is_running() && state.ended().is_none());
    ours.kill().unwrap();
    // Not waited for: a zombie has ended too.
    let start = Instant::now();
    while ours.is_running() {
        assert!(start.elapsed() < Duration::from_secs(10));
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(state.ended(), Some(&ours));
    child.wait().unwrap();
    ours.kill().unwrap();
}

#[test]
fn a_number_that_went_to_another_process_is_left_alone() {
    let mut child = sleeper();
    let mut earlier = process(&child);
    earlier.birth.ticks -= 1;
    earlier.kill().unwrap();
    let mut of_another_boot = process(&child);
    of_another_boot.birth.boot = "another".to_owned();
    of_another_boot.kill().unwrap();
    assert!(!earlier.is_running() && !of_another_boot.is_running());
    // Ends by the first signal that it gets: SIGTERM, of here.
    Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(15));
}

#[test]
fn start_times_are_read_past_any_name() {
    let line = |name: &str, state: &str| {
        format!("42 ({name}) {state} 1 42 42 0 -1 4194304 100 0 0 0 1 2 0 0 20 0 1 0 987654 0 0")
    };
    assert_eq!(ticks_of(&line("sleep", "S")), Some(987654));
    assert_eq!(ticks_of(&line("a) S 1 (b", "R")), Some(987654));
    assert_eq!(ticks_of(&line("sleep", "Z")), None);
    assert_eq!(ticks_of(""), None);
}

#[test]
fn shapes_name_their_nodes() {
    let shape = Shape::Nodes { nodes: 2 };
    assert_eq!(shape.node_names().collect::<Vec<_>>(), ["node1", "node2"]);
    assert_eq!(shape.to_string(), "control plane and 2 nodes");
    assert_eq!(Shape::ControlPlane { nodes: 1 }.to_string(), "control plane, 1 node simulated");
}
