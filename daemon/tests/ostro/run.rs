//! `ostro run` on a tiny random model.

use crate::support::{Home, text};

fn answer(home: &Home, arguments: &[&str]) -> String {
    let model = home.tiny_model();
    let arguments = [&["run", "-m", text(&model), "--max-tokens", "8"], arguments].concat();
    let ended = home.run(&arguments);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(
        ended.errors.contains("tokens; prompt") || ended.errors.contains("tokens/s; prompt"),
        "{ended:?}"
    );
    ended.output
}

#[test]
fn one_shot_answers_and_ends() {
    let home = Home::new();
    let first = answer(&home, &["-i", "hello", "--seed", "1"]);
    assert!(!first.is_empty());
    assert_eq!(first, answer(&home, &["-i", "hello", "--seed", "1"]), "the same seed gives the same answer");
    assert_ne!(first, answer(&home, &["-i", "hello", "--seed", "2"]));
}

#[test]
fn answer_does_not_depend_on_threads_or_cache_layout() {
    let home = Home::new();
    let expected = answer(&home, &["-i", "hello", "--seed", "1"]);
    for arguments in [["--threads", "1"], ["--pa-block-size", "16"], ["--max-num-batched-tokens", "4"]] {
        assert_eq!(
            answer(&home, &[&["-i", "hello", "--seed", "1"], arguments.as_slice()].concat()),
            expected,
            "{arguments:?}"
        );
    }
}

#[test]
fn configuration_file_runs_a_chat() {
    let home = Home::new();
    home.tiny_model();
    home.write("a.toml", "command = \"run\"\n[global]\nseed = 1\n[[models]]\nmodel_id = \"tiny.gguf\"\n");
    let ended = home.run_with_input(&["from-config", "-f", "a.toml"], "/help\n/exit\n");
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.output.contains("/temperature N"), "{ended:?}");
}

#[test]
fn chat_answers_obeys_and_keeps_a_history() {
    let home = Home::new();
    let model = home.tiny_model();
    let input = "/temperature 0\n/temperature 9\n/system be brief\nhello\nagain\n/clear\n/nonsense\n";
    let ended = home.run_with_input(&["run", "-m", text(&model), "--max-tokens", "4"], input);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(ended.errors.matches("; prompt").count(), 2, "{ended:?}");
    assert!(ended.errors.contains("/temperature takes a number from 0 to 2, not \"9\""), "{ended:?}");
    assert!(ended.errors.contains("unknown command /nonsense"), "{ended:?}");
}

#[test]
fn directory_with_one_gguf_is_that_model() {
    let home = Home::new();
    home.tiny_model();
    let ended = home.run(&["run", "-m", ".", "-i", "hello", "--max-tokens", "2"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    home.write("other.gguf", "");
    let ended = home.run(&["run", "-m", ".", "-i", "hello"]);
    assert_eq!(ended.code, Some(1));
    assert!(
        ended.errors.contains("several GGUF files; name one by quantized_file: other.gguf, tiny.gguf"),
        "{ended:?}"
    );
    for model in [["-m", ".", "-f", "tiny.gguf"].as_slice(), &["-f", "tiny.gguf"]] {
        let ended = home.run(&[&["run", "-i", "hello", "--max-tokens", "2"], model].concat());
        assert_eq!(ended.code, Some(0), "{ended:?}");
    }
}

#[test]
fn file_that_is_no_model_is_a_load_error() {
    let home = Home::new();
    home.write("a.gguf", "not a model");
    let ended = home.run(&["run", "-m", "a.gguf", "-i", "x"]);
    assert_eq!(ended.code, Some(1));
    assert_eq!(ended.output, "");
    assert!(ended.errors.starts_with("error: cannot load the model \"a.gguf\": "), "{ended:?}");
}

#[test]
fn log_file_gets_questions_and_answers() {
    let home = Home::new();
    let said = answer(&home, &["-i", "hello", "--log", "chat.jsonl"]);
    let line = std::fs::read_to_string(home.folder.path().join("chat.jsonl")).unwrap();
    let entry: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(entry["messages"][0]["content"], "hello");
    assert_eq!(format!("{}\n", entry["answer"].as_str().unwrap()), said);
}
