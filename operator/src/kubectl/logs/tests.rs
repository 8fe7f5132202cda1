use std::collections::BTreeMap;

use clap::Parser;
use serde_json::{Value, json};

use super::follow::LOOK_EVERY;
use super::*;
use crate::kubectl::args::{Arguments, Command};
use crate::kubectl::fake_api::{FakeApi, cluster, missing, pod_metadata};

fn args(words: &[&str]) -> LogsArgs {
    let words = [&["kubectl-ostro", "logs", "m"], words].concat();
    match Arguments::try_parse_from(words).unwrap().command {
        Command::Logs(args) => args,
        other => panic!("{other:?}"),
    }
}

fn pod(name: &str, restarts: i32, uid: &str) -> Value {
    let state = json!({ "terminated": { "exitCode": 1 } });
    let status = json!({ "name": "ostro", "restartCount": restarts, "state": state, "ready": true, "image": "", "imageID": "" });
    let mut metadata = pod_metadata(name);
    metadata["uid"] = uid.into();
    metadata["creationTimestamp"] = format!("2026-01-01T00:00:0{}Z", &name[2..]).into();
    json!({ "metadata": metadata, "status": { "containerStatuses": [status] } })
}

/// With these logs, by pod and how often it was begun; each log is another pod's.
fn api(logs: &[(&str, i32, &str)]) -> FakeApi {
    let pods: BTreeMap<&str, Value> =
        logs.iter().map(|(name, restarts, log)| (*name, pod(name, *restarts, log))).collect();
    let list = json!({ "items": pods.into_values().rev().collect::<Vec<_>>() });
    let logs: BTreeMap<String, String> =
        logs.iter().map(|(name, _, log)| ((*name).to_owned(), (*log).to_owned())).collect();
    FakeApi::answering(move |asked| {
        let path = asked.line.split([' ', '?']).nth(1).unwrap();
        match path.split('/').collect::<Vec<_>>()[5..] {
            ["pods"] => (200, list.clone()),
            ["pods", name, "log"] => match logs.get(name).filter(|log| !log.is_empty()) {
                Some(log) => (200, log.clone().into()),
                None => missing("pods", name),
            },
            _ => panic!("{}", asked.line),
        }
    })
}

async fn printed(api: &FakeApi, args: &LogsArgs, most: usize) -> (Vec<String>, Option<String>) {
    let object = InferenceDeployment::new("m", ostro_crds::InferenceDeploymentSpec::default());
    let mut lines = Vec::new();
    let mut print_line = |said: &Said| {
        let mut output = Vec::new();
        write(&mut output, said, true)?;
        lines.push(String::from_utf8(output)?);
        if lines.len() == most { bail!("enough") } else { Ok(()) }
    };
    let cluster = cluster(api.clone());
    let error = print(&cluster, (&object, args), &mut print_line).await.err().map(|error| error.to_string());
    (lines, error)
}

#[tokio::test]
async fn logs_of_all_pods_come_from_the_oldest_on() {
    let api = api(&[("m-2", 0, "c\u{1b}\n"), ("m-1", 0, "a\nb"), ("m-3", 0, "")]);
    let args = args(&["--tail", "5", "--since", "1h30m", "--previous"]);
    let (lines, error) = printed(&api, &args, 9).await;
    assert_eq!((lines, error), (["m-1 a\n", "m-1 b\n", "m-2 c\\u{1b}\n"].map(str::to_owned).into(), None));
    let asked = api.asked().into_iter().find(|asked| asked.line.contains("m-1/log")).unwrap().line;
    for parameter in ["container=ostro", "previous=true", "sinceSeconds=5400", "tailLines=5"] {
        assert!(asked.contains(parameter), "{asked}");
    }
    assert!(!asked.contains("follow"), "{asked}");
}

#[tokio::test]
async fn a_strangers_pod_with_the_labels_is_not_read() {
    let both = api(&[("m-0", 0, "a stranger's\n"), ("m-1", 0, "a\n")]);
    let fake = FakeApi::answering(move |asked| {
        let (code, mut answer) = both.handle(asked.clone());
        for pod in answer.get_mut("items").and_then(Value::as_array_mut).into_iter().flatten() {
            if pod["metadata"]["name"] == "m-0" {
                pod["metadata"]["ownerReferences"] = json!([]);
            }
        }
        (code, answer)
    });
    assert_eq!(printed(&fake, &args(&[]), 9).await, (vec!["m-1 a\n".to_owned()], None));
}

#[tokio::test]
async fn without_any_log_it_is_told_why() {
    let (_, error) = printed(&api(&[("m-1", 0, "")]), &args(&[]), 9).await;
    let error = error.unwrap();
    assert!(error.starts_with("no pod has logs: m-1: ") && error.contains("not found"), "{error}");
    let (_, error) = printed(&api(&[]), &args(&[]), 9).await;
    assert_eq!(error.unwrap(), "InferenceDeployment m in namespace shop has no pods");
}

/// Each is asked for once.
#[tokio::test(start_paused = true)]
async fn containers_that_begin_later_are_followed_too() {
    let state = std::sync::Arc::new(std::sync::Mutex::new(vec![("m-1", 0, "a\n")]));
    let now = state.clone();
    let fake = FakeApi::answering(move |asked| api(&now.lock().unwrap().clone()).handle(asked.clone()));
    let later = async {
        for logs in [
            vec![("m-1", 0, "a\n"), ("m-2", 0, "b\n")],
            vec![("m-1", 1, "again\n"), ("m-2", 0, "b\n")],
            // A pod of the same name in its place.
            vec![("m-1", 0, "new\n"), ("m-2", 0, "b\n")],
        ] {
            tokio::time::sleep(LOOK_EVERY * 3).await;
            *state.lock().unwrap() = logs;
        }
    };
    let args = args(&["--follow", "--tail", "1"]);
    let (told, ()) = tokio::join!(printed(&fake, &args, 4), later);
    assert_eq!(told.0, ["m-1 a\n", "m-2 b\n", "m-1 again\n", "m-1 new\n"]);
    let logs: Vec<String> =
        fake.asked().into_iter().map(|asked| asked.line).filter(|line| line.contains("/log")).collect();
    let tails: Vec<bool> = logs.iter().map(|line| line.contains("tailLines")).collect();
    assert_eq!(tails, [true, false, false, false]);
}

#[tokio::test(start_paused = true)]
async fn a_look_that_fails_ends_nothing_at_once() {
    let looks = std::sync::atomic::AtomicUsize::new(0);
    let fake = FakeApi::answering(move |asked| {
        let is_look = asked.line.contains("/pods?");
        let look = looks.fetch_add(usize::from(is_look), std::sync::atomic::Ordering::Relaxed);
        match look {
            1..4 if is_look => (500, json!({ "kind": "Status", "code": 500, "message": "busy" })),
            4.. => api(&[("m-1", 0, "a\n"), ("m-2", 0, "b\n")]).handle(asked.clone()),
            _ => api(&[("m-1", 0, "a\n")]).handle(asked.clone()),
        }
    });
    let (lines, _) = printed(&fake, &args(&["--follow"]), 2).await;
    assert_eq!(lines, ["m-1 a\n", "m-2 b\n"]);
}
