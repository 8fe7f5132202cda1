//! `ostro prune`. What is needed is tested where it is found out.

use std::fs;
use std::path::PathBuf;

use crate::support::{Home, text};

/// With a configuration that names no model of the hub, and the content of a model in the cache.
fn home() -> (Home, PathBuf, PathBuf) {
    let home = Home::new();
    home.write("model.gguf", "");
    let config = home.write("a.toml", "[[models]]\nmodel_id = \"model.gguf\"\n");
    let blobs = home.folder.path().join(".cache/huggingface/hub/models--o--m/blobs");
    fs::create_dir_all(&blobs).unwrap();
    let blob = blobs.join("a");
    fs::write(&blob, "twelve bytes").unwrap();
    (home, config, blob)
}

#[test]
fn what_a_file_does_not_name_goes_when_told_to() {
    let (home, config, blob) = home();
    let told = home.run(&["prune", "-f", text(&config)]);
    assert_eq!((told.code, told.output.as_str()), (Some(0), "o/m\t12\tthe model\n"), "{told:?}");
    assert!(blob.exists());
    let removed = home.run(&["prune", "-f", text(&config), "--yes"]);
    assert_eq!((removed.code, &removed.output), (Some(0), &told.output), "{removed:?}");
    assert!(!blob.exists());
    let again = home.run(&["prune", "-f", text(&config), "--yes"]);
    assert_eq!((again.code, again.output.as_str()), (Some(0), ""), "{again:?}");
    assert_eq!(home.run(&["prune"]).code, Some(2));
}

#[test]
fn a_file_commands_no_terminal_by_its_name() {
    let (home, _, blob) = home();
    let config = home.write("b.toml", "[[models]]\nmodel_id = \"o/m\"\n");
    let model = blob.ancestors().nth(2).unwrap();
    for (path, text) in [
        ("refs/main", "0123456789abcdef0123456789abcdef01234567"),
        ("snapshots/0123456789abcdef0123456789abcdef01234567/m.gguf", ""),
        ("snapshots/89abcdef0123456789abcdef0123456789abcdef/b\u{1b}\u{202e}.gguf", ""),
    ] {
        fs::create_dir_all(model.join(path).parent().unwrap()).unwrap();
        fs::write(model.join(path), text).unwrap();
    }
    let told = home.run(&["prune", "-f", text(&config)]);
    assert_eq!((told.code, told.output.as_str()), (Some(0), "o/m\t12\tb\\u{1b}\\u{202e}.gguf\n"), "{told:?}");
}

#[test]
fn nothing_goes_while_it_is_not_known_what_is_needed() {
    let (home, _, blob) = home();
    let config = home.write("b.toml", "[[models]]\nmodel_id = \"./not-mounted.gguf\"\n");
    let ended = home.run(&["prune", "-f", text(&config), "--yes"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(
        ended.errors.contains("nothing is pruned: ")
            && ended.errors.contains("not-mounted.gguf does not exist"),
        "{}",
        ended.errors
    );
    assert!(blob.exists());
}

#[test]
fn what_cannot_be_removed_is_told() {
    let (home, config, blob) = home();
    // Where the locks of downloads would be.
    home.write(".cache/huggingface/hub/.locks", "in the way");
    let ended = home.run(&["prune", "-f", text(&config), "--yes"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.errors.contains("cannot prune all of it: cannot access"), "{}", ended.errors);
    assert!(blob.exists());
}
