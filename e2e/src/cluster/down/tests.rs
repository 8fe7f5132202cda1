use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use super::*;

fn folders(root: &Path) -> Folders {
    let name = "down-test".parse().unwrap();
    Folders { name, root: root.to_owned(), run: root.join("run"), logs: root.join("logs") }
}

#[test]
fn what_was_not_written_down_is_found_by_its_mark() {
    let root = tempfile::TempDir::new().unwrap();
    let folders = folders(root.path());
    std::fs::create_dir_all(folders.run.join("etcd")).unwrap();
    let sleep = |run: &Path| {
        let child = Command::new("sleep").arg("60").env(MARK, run).spawn().unwrap();
        // The kernel says that a program has begun a little before it shows the environment.
        let environment = format!("/proc/{}/environ", child.id());
        while std::fs::read(&environment).unwrap().is_empty() {
            std::thread::yield_now();
        }
        child
    };
    let mut ours = sleep(&folders.run);
    let mut of_another_run = sleep(&root.path().join("run2"));
    remove_all(&folders).unwrap();
    assert_eq!(ours.wait().unwrap().signal(), Some(9));
    assert!(!folders.run.exists());
    // Ends by the first signal that it gets: SIGTERM, of here.
    Command::new("kill").args(["-TERM", &of_another_run.id().to_string()]).status().unwrap();
    assert_eq!(of_another_run.wait().unwrap().signal(), Some(15));
    // Nothing is left to do.
    remove_all(&folders).unwrap();
}

#[test]
fn a_broken_state_does_not_keep_a_cluster_up() {
    let root = tempfile::TempDir::new().unwrap();
    let folders = folders(root.path());
    std::fs::create_dir_all(&folders.run).unwrap();
    std::fs::write(folders.state(), "{").unwrap();
    remove_all(&folders).unwrap();
    assert!(!folders.run.exists());
}

#[test]
fn a_mount_in_the_folder_is_seen() {
    let mounts = "21 1 8:1 / / rw - ext4 /dev/sda rw\n\
        36 21 8:1 / /c/run/e2e/nodes/node1/root rw - ext4 /dev/sda rw\n";
    assert_eq!(mount_in(mounts, Path::new("/c/run/e2e")), Some("/c/run/e2e/nodes/node1/root"));
    assert_eq!(mount_in(mounts, Path::new("/c/run/e")), None);
    assert_eq!(mount_in(mounts, Path::new("/c/run/e2e2")), None);
}
