//! The command line without a model: messages, exit codes, listings.

use crate::support::{Home, text};

/// Exit code and error lines of a run.
fn check(arguments: &[&str], code: i32, errors: &[&str]) {
    let ended = Home::new().run(arguments);
    assert_eq!(ended.code, Some(code), "{arguments:?}: {ended:?}");
    assert_eq!(ended.errors.lines().collect::<Vec<_>>(), errors, "{arguments:?}");
}

#[test]
fn wrong_flags_are_usage_errors() {
    check(
        &["serve", "-m", "m", "--port", "70000"],
        2,
        &["error: --port: server.port = 70000 must be a whole number from 0 to 65535"],
    );
    check(
        &["serve", "-m", "m", "--pa-memory-mb", "8", "--pa-context-len", "64"],
        2,
        &[
            "error: --pa-memory-mb: paged_attn.memory_mb = 8 conflicts with paged_attn.context_len (--pa-context-len)",
        ],
    );
    check(
        &["run", "-m", "m", "--quant", "4", "--agent"],
        2,
        &[
            "error: --agent: runtime.agent = true is not supported by this build",
            "error: --quant: models[0].quantization.quant = \"4\" is not supported by this build",
        ],
    );
    check(
        &["serve"],
        2,
        &["error: models is missing: at least one [[models]] entry is needed, or --model-id"],
    );
    let ended = Home::new().run(&["serve", "--prot", "1"]);
    assert_eq!(ended.code, Some(2));
    assert!(ended.errors.contains("--port"), "{}", ended.errors);
}

#[test]
fn missing_models_are_runtime_errors() {
    let ended = Home::new().run(&["run", "-m", "no/such/model.gguf", "-i", "x"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.errors.contains("no/such/model.gguf"), "{}", ended.errors);
}

#[test]
fn unknown_instruction_sets_are_refused() {
    let home = Home::new();
    let output = home.command(&["run", "-m", "m", "-i", "x"]).env("OSTRO_CPU", "mmx").output().unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(errors.contains("OSTRO_CPU = \"mmx\"") && errors.contains("portable"), "{errors}");
}

#[test]
fn a_drain_time_that_is_none_is_refused() {
    let home = Home::new();
    for wrong in ["-1", "25s", "86401"] {
        let output = home.command(&["serve", "-m", "m"]).env("OSTRO_DRAIN_SECONDS", wrong).output().unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{errors}");
        let expected = format!("OSTRO_DRAIN_SECONDS = \"{wrong}\": must be whole seconds from 0 to 86400");
        assert!(errors.contains(&expected), "{errors}");
    }
}

/// One that is mistyped must not leave models to the CPU.
#[test]
fn a_requirement_of_a_gpu_that_is_none_is_refused() {
    let home = Home::new();
    for wrong in ["ture", "2", "-"] {
        let output = home.command(&["serve", "-m", "m"]).env("OSTRO_REQUIRE_GPU", wrong).output().unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        let expected = format!(
            "error: OSTRO_REQUIRE_GPU = \"{wrong}\": must be 1, on, yes or true, or 0, off, no or false\n"
        );
        assert_eq!((output.status.code(), errors), (Some(2), expected));
    }
}

#[test]
fn files_are_checked_by_line_and_key() {
    let home = Home::new();
    let file = "[server]\nport = \"x\"\nhots = 1\n[[models]]\nmodel_id = \"m\"\n";
    home.write("a.toml", file);
    let expected = "error: a.toml:2: server.port = \"x\" must be a whole number from 0 to 65535\n\
        error: a.toml:3: server.hots = 1 is not a known key; did you mean server.host?\n";
    for command in [["config", "check"].as_slice(), &["config", "show"], &["from-config"]] {
        let ended = home.run(&[command, &["-f", "a.toml"]].concat());
        assert_eq!((ended.code, ended.errors.as_str()), (Some(2), expected), "{command:?}");
    }
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let home = Home::new();
    home.write("a.ini", "");
    home.write("big.toml", &"#".repeat((1 << 20) + 1));
    let cases = [
        (
            "a.ini",
            "error: a.ini: the name of a configuration file must end in .toml, or .yaml for a manifest",
        ),
        ("none.toml", "error: none.toml: No such file or directory (os error 2)"),
        ("big.toml", "error: big.toml: is larger than 1048576 bytes"),
        ("folder.toml", "error: folder.toml: is not a regular file; -f - reads standard input"),
        ("pipe.toml", "error: pipe.toml: is not a regular file; -f - reads standard input"),
    ];
    std::fs::create_dir(home.folder.path().join("folder.toml")).unwrap();
    let made = home.command_of("mkfifo", &["pipe.toml"]).status().unwrap();
    assert!(made.success());
    for (name, expected) in cases {
        let ended = home.run(&["from-config", "-f", name]);
        assert_eq!((ended.code, ended.errors.trim_end()), (Some(2), expected));
    }
}

#[test]
fn a_manifest_is_a_configuration_too() {
    let home = Home::new();
    let head = "apiVersion: inference.ostro.dev/v1alpha1\nkind: InferenceDeployment\nmetadata: {name: m}\n";
    home.write(
        "m.yaml",
        &format!("{head}spec:\n  replicas: 2\n  models: [{{modelId: m}}]\n  runtime: {{maxSeqs: 3}}\n"),
    );
    let shown = home.run(&["config", "show", "-f", "m.yaml"]);
    assert!(shown.output.contains("max_seqs = 3  # m.yaml:7"), "{}", shown.output);
    home.write("bad.yaml", &format!("{head}spec:\n  models: [{{modelId: m}}]\n  runtime: {{maxSeqs: 0}}\n"));
    let ended = home.run(&["from-config", "-f", "bad.yaml"]);
    let expected = "error: bad.yaml:6: spec.runtime.maxSeqs = 0 must be a whole number from 1 to 65536\n";
    assert_eq!((ended.code, ended.errors.as_str()), (Some(2), expected));
}

#[test]
fn check_tells_what_this_build_lacks() {
    let home = Home::new();
    home.write("a.toml", "[[models]]\nmodel_id = \"m\"\n[paged_attn]\ncache_type = \"f8e4m3\"\n");
    let ended = home.run(&["config", "check", "-f", "a.toml"]);
    let expected = "error: a.toml:4: paged_attn.cache_type = \"f8e4m3\" is not supported by this build\n";
    assert_eq!((ended.code, ended.errors.as_str()), (Some(2), expected));
    home.write("b.toml", "[[models]]\nmodel_id = \"m\"\n");
    let ended = home.run(&["config", "check", "-f", "b.toml"]);
    assert_eq!((ended.code, ended.output.as_str()), (Some(0), "ok: 1 model\n"));
}

#[test]
fn show_says_where_values_come_from() {
    let home = Home::new();
    home.write("a.toml", "[server]\nport = 80\n[[models]]\nmodel_id = \"m\"\n");
    let ended = home.run(&["config", "show", "-f", "a.toml", "--max-seqs", "4"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    for line in [
        "port = 80  # a.toml:2",
        "max_seqs = 4  # --max-seqs",
        "host = \"0.0.0.0\"  # default",
        "model_id = \"m\"  # a.toml:4",
        "# max_batch_size: runtime.max_seqs",
    ] {
        assert!(ended.output.lines().any(|shown| shown == line), "{line}\n{}", ended.output);
    }
    // What it prints is itself a configuration that says the same.
    let again = home.write("again.toml", &ended.output);
    let again = home.run(&["config", "show", "-f", text(&again)]);
    let values = |listing: &str| -> Vec<String> {
        listing.lines().map(|line| line.split("  # ").next().unwrap().to_owned()).collect()
    };
    assert_eq!(values(&again.output), values(&ended.output));
}

#[test]
fn completions_know_commands_and_flags() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let ended = Home::new().run(&["completions", shell]);
        assert_eq!(ended.code, Some(0));
        for word in ["from-config", "pa-block-size", "max-tokens"] {
            assert!(ended.output.contains(word), "{shell} lacks {word}");
        }
    }
    assert_eq!(Home::new().run(&["completions", "tcsh"]).code, Some(2));
}

#[test]
fn configuration_is_read_from_standard_input() {
    let home = Home::new();
    for (input, code, expected) in [
        ("[[models]]\nmodel_id = \"m\"\n", 0, "ok: 1 model\n"),
        ("# For the InferenceDeployment m.\n[[models]]\nmodel_id = \"m\"\n", 0, "ok: 1 model\n"),
        (
            "apiVersion: inference.ostro.dev/v1alpha1\nkind: InferenceDeployment\nspec: {models: [{modelId: m}]}\n",
            0,
            "ok: 1 model\n",
        ),
        (
            r#"{"kind":"InferenceDeployment","apiVersion":"inference.ostro.dev/v1alpha1","spec":{"models":[{"modelId":"m"}]}}"#,
            0,
            "ok: 1 model\n",
        ),
        (
            "port = 1\n",
            2,
            "error: standard input:1: port = 1 is not a known key; did you mean server.port?\n",
        ),
    ] {
        for name in ["-", "/dev/stdin"] {
            let ended = home.run_with_input(&["config", "check", "-f", name], input);
            assert_eq!(
                (ended.code, (ended.output + &ended.errors).lines().next()),
                (Some(code), expected.lines().next())
            );
        }
    }
}

#[test]
fn show_needs_no_model() {
    let ended = Home::new().run(&["config", "show", "-p", "80"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.output.contains("port = 80  # --port\n"), "{ended:?}");
}

#[test]
fn short_flags_work_beside_a_file() {
    let home = Home::new();
    home.write("a.toml", "[server]\nport = 1\n");
    let ended = home.run(&["config", "check", "-f", "a.toml", "-m", "m", "-p", "2", "-t", "t.json"]);
    assert_eq!((ended.code, ended.output.as_str()), (Some(0), "ok: 1 model\n"), "{ended:?}");
}

#[test]
fn wrong_log_filter_is_a_usage_error() {
    let home = Home::new();
    let output = home.command(&["run", "-m", "m", "-i", "x"]).env("RUST_LOG", "ostro=loud").output().unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{errors}");
    assert!(errors.starts_with("error: RUST_LOG = \"ostro=loud\" is not a log filter: "), "{errors}");
    assert_eq!(errors.matches("level filter").count(), 1, "{errors}");
}
