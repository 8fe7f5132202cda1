//! `ostro pull`. Downloads themselves are tested where they are made.

use crate::support::{Home, text};

#[test]
fn models_that_are_here_are_found_and_none_is_loaded() {
    let home = Home::new();
    // No engine takes it.
    let model = home.write("some.gguf", "nothing");
    let config = home.write("a.toml", "[[models]]\nmodel_id = \"some.gguf\"\n");
    let ended = home.run(&["pull", "-f", text(&config)]);
    assert_eq!(
        (ended.code, ended.output.as_str()),
        (Some(0), format!("some.gguf\t{}\n", text(&model)).as_str()),
        "{ended:?}"
    );
    let ended = home.run(&["pull", "-m", text(&model)]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

#[test]
fn what_cannot_be_found_is_named() {
    let home = Home::new();
    let ended = home.run(&["pull", "-m", "./no.gguf"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.errors.contains("./no.gguf"), "{}", ended.errors);
    let ended = home.run(&["pull"]);
    assert_eq!(ended.code, Some(2), "{ended:?}");
    let ended = home.run(&["pull", "-m", "./no.gguf", "--listen", "nowhere"]);
    assert_eq!(ended.code, Some(2), "{ended:?}");
}
