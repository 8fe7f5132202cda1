//! `ostro run` on a tiny random model.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use ostro_engine::tiny::{TinyFamily, TinyModel};

use crate::skipped;
use crate::support::{Ended, Home, text};

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
fn chat_answers_and_obeys() {
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
fn a_text_of_a_pipe_that_is_not_answered_is_a_failure_at_the_end() {
    let home = Home::new();
    let model = home.tiny_model();
    let input = format!("{}\nhello\n", "word ".repeat(10_000));
    let ended = home.run_with_input(&["run", "-m", text(&model), "--max-tokens", "4"], &input);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.errors.contains("error: the prompt has "), "{ended:?}");
    assert_eq!(ended.errors.matches("; prompt").count(), 1, "the next text is answered: {ended:?}");
}

/// A full disk stands for all that takes no words.
#[test]
fn nobody_need_read_what_is_told_aside() {
    let home = Home::new();
    let model = home.tiny_model();
    let code = |arguments: &[&str]| {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let ended = home.command(arguments).stderr(full).output().unwrap();
        (ended.status.code(), ended.stdout.is_empty())
    };
    assert_eq!(code(&["run", "-m", text(&model), "-i", "hello", "--max-tokens", "4"]), (Some(0), false));
    assert_eq!(code(&["run", "-m", "./none.gguf", "-i", "hello"]), (Some(1), true));
    assert_eq!(code(&["run", "--threads", "0"]), (Some(2), true));
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
fn what_is_told_aside_commands_no_terminal() {
    let home = Home::new();
    let model = home.tiny_model();
    let told = home.run_with_input(&["run", "-m", text(&model)], "/\u{1b}[2J\n");
    assert!(told.errors.contains("unknown command /\\u{1b}[2J; "), "{told:?}");
    home.write("b\u{1b}[2J.gguf", "");
    let failed = home.run(&["run", "-m", ".", "-i", "hello"]);
    assert!(failed.errors.contains("by quantized_file: b\\u{1b}[2J.gguf, tiny.gguf"), "{failed:?}");
}

#[test]
fn token_that_ends_an_answer_is_not_part_of_it() {
    let home = Home::new();
    let model = home.folder.path().join("model");
    TinyModel::new(TinyFamily::Llama).write_directory(&model).unwrap();
    // All that are not special, whose texts would be shown.
    let ends: Vec<u32> = (3..320).collect();
    home.write("model/generation_config.json", &serde_json::json!({"eos_token_id": ends}).to_string());
    let ended = home.run(&["run", "-m", text(&model), "-i", "hello", "--seed", "1", "--max-tokens", "8"]);
    assert_eq!((ended.code, ended.output.as_str()), (Some(0), "\n"), "{ended:?}");
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
    let path = home.folder.path().join("chat.jsonl");
    let line = std::fs::read_to_string(&path).unwrap();
    let entry: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(entry["messages"][0]["content"], "hello");
    assert_eq!(format!("{}\n", entry["answer"].as_str().unwrap()), said);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn answers_that_cannot_be_logged_are_part_of_the_conversation() {
    let home = Home::new();
    let model = home.tiny_model();
    let template = "{% for message in messages %}{% if message.role != ['user', 'assistant'][loop.index0 % 2] %}\
        {{ raise_exception('two questions in a row') }}{% endif %}{{ message.content }}{% endfor %}";
    home.write("turns.jinja", template);
    let arguments =
        ["run", "-m", text(&model), "-c", "turns.jinja", "--max-tokens", "4", "--log", "/dev/full"];
    let ended = home.run_with_input(&arguments, "hello\nagain\n");
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert_eq!(ended.errors.matches("error: cannot write the log").count(), 2, "{ended:?}");
}

#[test]
fn refused_lengths_are_named_as_they_were_written() {
    let home = Home::new();
    home.tiny_model();
    home.write(
        "a.toml",
        "command = \"run\"\n[[models]]\nmodel_id = \"tiny.gguf\"\ndevice.max_seq_len = 513\n",
    );
    let key = "models[0].device.max_seq_len";
    let cases: [(&[&str], i32, String); 4] = [
        (&["run", "-m", "tiny.gguf", "--max-seq-len", "1"], 2, format!("--max-seq-len: {key} = 1 must be")),
        (
            &["run", "-m", "tiny.gguf", "--max-seq-len", "513"],
            1,
            format!("--max-seq-len: {key} = 513 must be 2 to 512"),
        ),
        (&["from-config", "-f", "a.toml"], 1, format!("a.toml:4: {key} = 513 must be 2 to 512")),
        (
            &["run", "-m", "tiny.gguf", "--pa-context-len", "9223372036854775807"],
            1,
            "--pa-context-len: paged_attn.context_len = 9223372036854775807 asks for".to_owned(),
        ),
    ];
    for (arguments, code, expected) in cases {
        let ended = home.run(arguments);
        assert_eq!(ended.code, Some(code), "{arguments:?}: {ended:?}");
        assert!(ended.errors.contains(&expected), "{arguments:?}: {ended:?}");
    }
}

#[test]
fn broken_template_is_named() {
    let home = Home::new();
    home.tiny_model();
    home.write("bad.jinja", "ok\n{% if %}");
    let ended = home.run(&["run", "-m", "tiny.gguf", "-c", "bad.jinja", "-i", "x"]);
    let expected = "--chat-template: runtime.chat_template = \"bad.jinja\" is not a chat template: line 2: ";
    assert!(ended.code == Some(1) && ended.errors.contains(expected), "{ended:?}");
}

#[test]
fn files_beside_a_configuration_are_found_from_anywhere() {
    let home = Home::new();
    home.tiny_model();
    home.write("hello.jinja", "{{ raise_exception('mine') }}");
    let text = "command = \"run\"\n[runtime]\nchat_template = \"hello.jinja\"\n[[models]]\nmodel_id = \"tiny.gguf\"\n";
    home.write("a.toml", text);
    let elsewhere = tempfile::tempdir().unwrap();
    let file = home.folder.path().join("a.toml");
    let mut command = home.command(&["from-config", "-f", file.to_str().unwrap()]);
    let mut child = command.current_dir(elsewhere.path()).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"hi\n").unwrap();
    let ended = Ended::from(child.wait_with_output().unwrap());
    assert!(ended.code == Some(1) && ended.errors.contains("mine"), "{ended:?}");
}

#[test]
fn open_text_at_the_end_of_the_input_is_answered() {
    let home = Home::new();
    let model = home.tiny_model();
    for input in ["\"\"\"\none\ntwo\n", "one\\\n", "one"] {
        let arguments = ["run", "-m", text(&model), "--max-tokens", "2"];
        let ended = home.run_with_input(&arguments, input);
        assert_eq!(ended.errors.matches("; prompt").count(), 1, "{input:?}: {ended:?}");
    }
}

#[test]
fn input_that_is_not_text_is_told_once() {
    let home = Home::new();
    let model = home.tiny_model();
    let mut child = home.command(&["run", "-m", text(&model)]).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"/help\n\xff\n").unwrap();
    let ended = Ended::from(child.wait_with_output().unwrap());
    assert_eq!((ended.code, ended.errors.as_str()), (Some(1), "error: line 2 of the input is not UTF-8\n"));
}

#[test]
fn full_context_says_how_to_go_on() {
    let home = Home::new();
    let model = home.tiny_model();
    let question = "a b c d e f g h ".repeat(20);
    let input = format!("{question}\n{question}\n{question}\n/clear\nhi\n");
    let ended = home.run_with_input(&["run", "-m", text(&model), "--max-tokens", "4"], &input);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.errors.contains("with the answer; /clear forgets the conversation\n"), "{ended:?}");
    assert!(ended.errors.trim_end().lines().last().unwrap().contains("; prompt"), "{ended:?}");
}

#[test]
fn reader_that_leaves_ends_the_answer_quietly() {
    let home = Home::new();
    let model = home.tiny_model();
    let mut child = home.command(&["run", "-m", text(&model), "-i", "hello"]).spawn().unwrap();
    drop(child.stdout.take());
    let ended = Ended::from(child.wait_with_output().unwrap());
    assert_eq!((ended.code, ended.errors.as_str()), (Some(0), ""));
}

#[test]
fn interrupt_ends_a_piped_chat() {
    let home = Home::new();
    let model = home.tiny_model();
    let mut child = home
        .command(&["run", "-m", text(&model), "--max-tokens", "2"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut errors = BufReader::new(child.stderr.take().unwrap());
    input.write_all(b"hello\n").unwrap();
    let mut line = String::new();
    errors.read_line(&mut line).unwrap();
    assert!(line.contains("; prompt"), "{line}");
    // It waits for the next line, which does not come.
    let status = Command::new("sh").args(["-c", &format!("kill -INT {}", child.id())]).status().unwrap();
    assert!(status.success());
    line.clear();
    errors.read_to_string(&mut line).unwrap();
    assert_eq!((child.wait().unwrap().code(), line.as_str()), (Some(130), ""));
}

#[test]
fn lines_typed_ahead_are_all_answered() {
    let home = Home::new();
    if home.command_of("script", &["--version"]).stdout(Stdio::null()).status().is_err() {
        skipped::tell("there is no `script` to make a terminal");
        return;
    }
    let model = home.tiny_model();
    let ostro = format!("{} run -m {} --max-tokens 2", env!("CARGO_BIN_EXE_ostro"), text(&model));
    let mut terminal = home.command_of("timeout", &["60", "script", "-qec", &ostro, "/dev/null"]);
    terminal.env("HOME", home.folder.path()).env("TERM", "xterm").env_remove("XDG_STATE_HOME");
    let mut child = terminal.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    // All at once, before the first prompt. It stays open: its end would end the terminal.
    let mut keys = child.stdin.take().unwrap();
    keys.write_all(b"one\ntwo\nthree\n/exit\n").unwrap();
    let mut screen = String::new();
    child.stdout.take().unwrap().read_to_string(&mut screen).unwrap();
    assert_eq!(screen.matches("; prompt").count(), 3, "{screen}");
    assert!(child.wait().unwrap().success());
}
