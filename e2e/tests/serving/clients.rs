//! Clients of a model: an unmodified package in another pod, and kubectl on the user's machine.

use std::path::Path;
use std::process::Output;

use serde_json::{Value, json};

use crate::objects::{PYTHON, await_phase, client, pods};
use crate::support::{self, Cluster};

const QUESTION: &str = "What is the capital of France?";

/// What the way through the Service, by its name in DNS, or two replicas may change; `tests/openai_client.rs` asks all
/// of a daemon.
const CASES: [&str; 5] = [
    "Chat.test_a_greedy_answer_equals_the_f32_computation",
    "Chat.test_a_stream_gives_the_same_text_and_ends_with_usage",
    "Chat.test_the_same_seed_gives_the_same_text_whatever_else_runs",
    "Errors.test_an_unknown_model_is_not_found",
    "Models",
];

pub(crate) fn openai(cluster: &Cluster, model: &Path) {
    let args = [&["-B", "/scripts/test_openai_client.py"], &CASES[..]].concat();
    let container = json!({
        "image": PYTHON, "args": args,
        "env": [
            { "name": "OSTRO_URL", "value": "http://chat.default.svc.cluster.local/v1" },
            { "name": "OSTRO_MODEL", "value": model.file_stem().unwrap().to_str().unwrap() },
        ],
    });
    cluster.apply(&client("openai", None, &container));
    await_phase(cluster, "openai", "Succeeded");
    let told = cluster.kubectl(&["logs", "openai"]);
    eprintln!("  {}", told.lines().find(|line| line.starts_with("Ran ")).unwrap());
}

/// Tokens are drawn, by the seed of the object: the plugin and the API give the same words.
pub(crate) fn kubectl_ostro(cluster: &Cluster) {
    let (code, text) = ostro(cluster, &["chat", "chat", QUESTION]);
    let answer = answer(cluster, &pods(cluster, "chat")[0], &json!({}));
    assert!(!answer.is_empty(), "nothing to compare");
    assert_eq!((code, text.trim()), (0, answer.trim()));
    eprintln!("  {}", answer.trim());
    let (code, text) = ostro(cluster, &["status", "chat"]);
    assert!(code == 0 && text.contains("Deployment chat  2 of 2 ready"), "{text}");
}

/// Exit code and all output of `kubectl ostro`.
pub(crate) fn ostro(cluster: &Cluster, words: &[&str]) -> (i32, String) {
    let Output { status, stdout, stderr } =
        support::operator::kubectl_ostro(cluster, words).output().unwrap();
    let text = [stdout, stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
    (status.code().unwrap(), text)
}

/// What a pod says to the question, asked at its own address.
pub(crate) fn answer(cluster: &Cluster, pod: &Value, options: &Value) -> String {
    let port = &pod["spec"]["containers"][0]["ports"][0]["containerPort"];
    let url = format!("http://{}:{port}/v1/chat/completions", pod["status"]["podIP"].as_str().unwrap());
    let mut request = json!({ "messages": [{ "role": "user", "content": QUESTION }] });
    request.as_object_mut().unwrap().extend(options.as_object().unwrap().clone());
    let request = request.to_string();
    let words = ["exec", "--", "curl", "--silent", "--fail", "--max-time", "20", "--json", &request, &url];
    let answer: Value = serde_json::from_str(&cluster.run(&words)).unwrap();
    answer["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
}
