//! `ostro bench`: of a tiny random model, and of servers that behave in known ways.

mod scripted_server;

use serde_json::Value;

use crate::support::{Ended, Home, text};
use scripted_server::{Reply, ScriptedServer, answer};

fn of_model(arguments: &[&str]) -> Ended {
    let home = Home::new();
    let model = home.tiny_model();
    home.run(&[&["bench", "-m", text(&model)], arguments].concat())
}

fn json(ended: &Ended) -> Value {
    serde_json::from_str(&ended.output).unwrap_or_else(|error| panic!("{error}: {ended:?}"))
}

fn column(report: &Value, part: &str, name: &str) -> Vec<u64> {
    report[part].as_array().unwrap().iter().map(|row| row[name].as_u64().unwrap()).collect()
}

const SMALL: [&str; 8] =
    ["--prompt-len", "20,40", "--gen-len", "8", "--concurrency", "1,3", "--iterations", "2"];

#[test]
fn model_is_measured_at_every_length_depth_and_batch() {
    let ended = of_model(&[&SMALL[..], &["--depth", "0,30", "--json"]].concat());
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let report = json(&ended);
    let column = |part: &str, name: &str| column(&report, part, name);
    assert_eq!(column("prefill", "prompt_tokens"), [20, 40]);
    assert_eq!(column("decode", "depth"), [0, 0, 30, 30]);
    assert_eq!(column("decode", "sequences"), [1, 3, 1, 3]);
    let bytes = column("decode", "bytes_per_step");
    let weights = report["model"]["step_weight_bytes"].as_u64().unwrap();
    assert!(weights < bytes[0] && bytes[0] < bytes[1] && bytes[1] < bytes[3], "{bytes:?}");
    for row in report["decode"].as_array().unwrap() {
        let (step, rate) = (&row["step_seconds"], row["tokens_per_second"].as_f64().unwrap());
        assert_eq!(step["count"], 2 * 7, "{row}");
        assert!(step["p50"].as_f64() > Some(0.0) && step["p50"].as_f64() <= step["p90"].as_f64(), "{row}");
        assert!(rate > 0.0 && row["ceiling_bytes_per_second"].as_f64() > Some(0.0), "{row}");
        let overhead = row["overhead_fraction"].as_f64().unwrap();
        assert!(overhead > 0.0 && overhead < 1.0, "{row}");
    }
}

#[test]
fn prompts_have_their_steps_bytes_and_operations() {
    let lengths = ["--prompt-len", "20,40", "--gen-len", "0", "--max-num-batched-tokens", "16"];
    let report = json(&of_model(&[&lengths[..], &["--json"]].concat()));
    let column = |name: &str| column(&report, "prefill", name);
    let [weights, layers] =
        ["step_weight_bytes", "layer_parameters"].map(|name| report["model"][name].as_u64().unwrap());
    assert_eq!(column("steps"), [2, 3]);
    assert_eq!(column("operations"), [20, 40].map(|tokens| 2 * layers * tokens));
    let keys_and_values = column("bytes_per_step").iter().map(|bytes| bytes - weights).collect::<Vec<_>>();
    assert!(keys_and_values[0] > 0 && keys_and_values[1] == 2 * keys_and_values[0], "{keys_and_values:?}");
    for row in report["prefill"].as_array().unwrap() {
        assert!(row["operations_per_second"].as_f64() > Some(0.0), "{row}");
    }
}

#[test]
fn zero_leaves_a_part_out() {
    let prefill = json(&of_model(&["--gen-len", "0", "--prompt-len", "9", "--json"]));
    assert_eq!(prefill["prefill"].as_array().map(Vec::len), Some(1));
    assert_eq!(prefill["decode"].as_array().map(Vec::len), Some(0));
    let ended = of_model(&["--gen-len", "4", "--prompt-len", "0", "--concurrency", "2"]);
    assert!(ended.output.contains("decode") && !ended.output.contains("prefill"), "{ended:?}");
}

#[test]
fn what_cannot_be_measured_is_refused_by_flag() {
    for (arguments, words) in [
        (&["--concurrency", "64"][..], "error: --concurrency 64: must be 1 to 32"),
        (&["--concurrency", "3", "--max-seqs", "2"], "error: --concurrency 3: must be 1 to 2"),
        (&["--concurrency", "1,0"], "error: --concurrency 0: must be 1 or more"),
        (&["--gen-len", "1"], "error: --gen-len 1: must be 0 for none, or 2 or more"),
        (&["--gen-len", "0", "--prompt-len", "0"], "error: --prompt-len 0 --gen-len 0:"),
        (&["--gen-len", "999999", "--prompt-len", "9"], "error: --gen-len 999999: must be 0 to "),
        (&["--prompt-len", "999999"], "error: --prompt-len 999999: must be 1 to "),
        (&["--depth", "999999", "--prompt-len", "9"], "error: --depth 999999: must be 0 to "),
        (
            &["--concurrency", "8", "--gen-len", "16", "--pa-context-len", "128", "--prompt-len", "0"],
            "error: --concurrency 8: must be 1 to 4 at a depth of 0",
        ),
        (&["--iterations", "0"], "'--iterations <N>'"),
        (&["--rate", "2"], "error: --rate: is for a server, which --url names"),
        (&["--seed", "1"], "error: --seed: is for a server"),
        (&["--url", "http://127.0.0.1:1"], "cannot be used with"),
    ] {
        let ended = of_model(arguments);
        assert_eq!(ended.code, Some(2), "{arguments:?}: {ended:?}");
        assert!(ended.errors.contains(words), "{arguments:?}: {}", ended.errors);
        assert!(!ended.errors.contains("prompt_tokens"), "{}", ended.errors);
    }
}

fn of_server(server: &ScriptedServer, arguments: &[&str]) -> Ended {
    let url = server.url();
    let flags = ["bench", "--url", &url, "--gen-len", "6", "--warmup", "0"];
    Home::new().run(&[&flags[..], arguments].concat())
}

#[test]
fn server_with_usage_is_counted_by_it() {
    let server = ScriptedServer::start(|_, request| answer(request, 6));
    let ended = of_server(&server, &["--prompt-len", "218", "--concurrency", "1,4", "--json"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let report = json(&ended);
    assert_eq!(report["model"], "scripted");
    for (run, (clients, requests)) in report["runs"].as_array().unwrap().iter().zip([(1, 8), (4, 16)]) {
        assert_eq!(
            [&run["concurrency"], &run["requests"], &run["succeeded"], &run["output_tokens"]],
            [clients, requests, requests, requests * 6]
        );
        // The server counts two tokens a word and nine of a template.
        assert_eq!((&run["prompt_tokens"], &run["tokens_by"]), (&Value::from(219.0), &Value::from("usage")));
        let p50 = |name: &str| run[name]["p50"].as_f64().unwrap();
        assert!(p50("ttft_seconds") > 0.0 && p50("ttft_seconds") <= p50("latency_seconds"), "{run}");
        assert_eq!([&run["tpot_seconds"]["count"], &run["itl_seconds"]["count"]], [requests, requests * 5]);
    }
    let mut prompts = server.prompts();
    let sent = prompts.len();
    prompts.sort();
    prompts.dedup();
    assert_eq!((sent, prompts.len()), (2 + 8 + 16, 2 + 8 + 16), "every prompt is unique");
}

#[test]
fn of_answers_in_two_pieces_each_mean_is_one_gap() {
    let server = ScriptedServer::start(|_, request| answer(request, 2));
    let ended = of_server(&server, &["--concurrency", "2", "--requests", "6", "--json"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let run = json(&ended)["runs"][0].clone();
    assert_eq!(run["itl_seconds"]["count"], 6);
    assert_eq!(run["itl_seconds"], run["tpot_seconds"]);
}

#[test]
fn server_without_newer_fields_is_measured_by_pieces() {
    let server = ScriptedServer::start(|_, request| {
        match ["ignore_eos", "stream_options"].iter().find(|name| request.get(name).is_some()) {
            Some(name) => Reply::status(400, &format!("{{\"error\":{{\"message\":\"unknown {name}\"}}}}")),
            None => answer(request, 3),
        }
    });
    let ended = of_server(&server, &["--requests", "2", "--concurrency", "2", "--json"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let run = json(&ended)["runs"][0].clone();
    assert_eq!([&run["succeeded"], &run["output_tokens"]], [2, 6]);
    assert_eq!(run["tokens_by"], "pieces");
    let table = of_server(&server, &["--requests", "1", "--concurrency", "1"]).output;
    assert!(table.contains("The server refuses `ignore_eos`"), "{table}");
}

#[test]
fn a_busy_server_is_not_taken_for_an_old_one() {
    let server = ScriptedServer::start(|number, request| match number {
        0 => Reply::status(429, r#"{"error":{"message":"too many"}}"#),
        _ => answer(request, 6),
    });
    let ended = of_server(&server, &["--requests", "1", "--concurrency", "1"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.errors.contains("status 429: too many"), "{ended:?}");
}

#[test]
fn prompts_repeat_by_a_seed_only() {
    let prompts = |seeds: [&[&str]; 2]| {
        let server = ScriptedServer::start(|_, request| answer(request, 6));
        for seed in seeds {
            let ended = of_server(&server, &[&["--requests", "2", "--concurrency", "1"], seed].concat());
            assert_eq!(ended.code, Some(0), "{ended:?}");
        }
        let mut prompts = server.prompts();
        prompts.sort();
        prompts.dedup();
        prompts.len()
    };
    assert_eq!(prompts([&[], &[]]), 8);
    assert_eq!(prompts([&["--seed", "7"], &["--seed", "7"]]), 4);
}

#[test]
fn failures_are_counted_by_kind() {
    // The first two requests are the client's own, to learn how the server counts.
    let server = ScriptedServer::start(|number, request| match number {
        2 => Reply::status(429, r#"{"error":{"message":"too many"}}"#),
        3 => answer(request, 6).cut(),
        4 => Reply::stream(&[r#"{"error":{"message":"out of memory"}}"#]),
        5 => Reply::stream(&["what is JSON"]),
        6 => Reply::stream(&[r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#, "[DONE]"]),
        7 => Reply::nothing(),
        _ => answer(request, 6),
    });
    let ended = of_server(&server, &["--concurrency", "1", "--json"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let run = &json(&ended)["runs"][0];
    assert_eq!([&run["requests"], &run["succeeded"], &run["output_tokens"]], [8, 2, 12]);
    let errors: Vec<(String, Value)> = run["errors"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(kind, error)| (format!("{kind} {}", error["count"]), error["detail"].clone()))
        .collect();
    let expected = [
        ("an error in the stream 1", Value::from("out of memory")),
        ("no text 1", Value::Null),
        ("not a stream of completions 1", Value::from("what is JSON")),
        ("status 429 1", Value::from("too many")),
        ("the stream was cut 2", Value::Null),
    ];
    assert_eq!(errors, expected.map(|(kind, detail)| (kind.to_owned(), detail)));
}

#[test]
fn bodies_of_strangers_are_read_in_part() {
    let server = ScriptedServer::start(|number, request| match number {
        0 | 1 => answer(request, 2),
        // The whole of it never comes.
        _ => Reply::status(500, &"x".repeat(4 << 20)).cut(),
    });
    let ended = of_server(&server, &["--requests", "1", "--concurrency", "1"]);
    let expected = format!("error: every request failed: 1 x status 500: {}\n", "x".repeat(200));
    assert_eq!((ended.code, &ended.errors), (Some(1), &expected));
    let models = format!(r#"{{"data":[{{"id":"scripted"}}],"more":"{}"}}"#, "x".repeat(2 << 20));
    let server = ScriptedServer::listing(&models, |_, request| answer(request, 6));
    let ended = of_server(&server, &["--requests", "1", "--concurrency", "1"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.errors.contains("/v1/models answers with more than 1048576 bytes"), "{}", ended.errors);
}

#[test]
fn a_model_commands_no_terminal_by_its_name() {
    let models = r#"{"data":[{"id":"\u001b[2Jscripted"}]}"#;
    let server =
        ScriptedServer::listing(models, |_, request| match request["model"] == "\u{1b}[2Jscripted" {
            true => answer(request, 6),
            false => Reply::status(404, "another model"),
        });
    let ended = of_server(&server, &["--requests", "1", "--concurrency", "1"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.output.starts_with("\\u{1b}[2Jscripted at "), "{ended:?}");
}

#[test]
fn only_failures_fail() {
    let server = ScriptedServer::start(|number, request| match number {
        0 | 1 => answer(request, 2),
        _ => Reply::status(500, "broken"),
    });
    let ended = of_server(&server, &["--rate", "200", "--requests", "5"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.output.contains("200 a second") && ended.output.contains("0/5"), "{ended:?}");
    assert_eq!(ended.errors, "error: every request failed: 5 x status 500: broken\n");
}

#[test]
fn absent_servers_and_wrong_addresses_are_told_apart() {
    let url = {
        // Free again when the listener is gone.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let ended = Home::new().run(&["bench", "--url", &url]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.errors.contains(&url) && ended.errors.contains("refused"), "{}", ended.errors);
    for (arguments, words) in [
        (&["--url", "ftp://x"][..], "error: --url ftp://x: must start with http://"),
        (&["--url", &url, "--gen-len", "0"], "error: --gen-len 0: must be 1 or more"),
        (&["--url", &url, "--prompt-len", "0"], "error: --prompt-len 0: must be 1 or more"),
        (&["--url", &url, "--concurrency", "0"], "error: --concurrency 0: must be 1 or more"),
        (&["--url", &url, "--rate", "0"], "0.001 to 100000"),
        (&["--url", &url, "--requests", "0"], "--requests"),
        (
            &["--url", &url, "--requests", "9"],
            "error: --requests 9: must be at least --concurrency, of which one is 16",
        ),
        (&["--url", &url, "--threads", "2"], "cannot be used with"),
    ] {
        let ended = Home::new().run(&[&["bench"], arguments].concat());
        assert_eq!(ended.code, Some(2), "{arguments:?}: {ended:?}");
        assert!(ended.errors.contains(words), "{arguments:?}: {}", ended.errors);
    }
}
