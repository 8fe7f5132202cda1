//! Bodies of requests while they arrive: the memory they share, the time they have.

use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use axum::body::Body;
use ostro_server::RouterOptions;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tower::ServiceExt;

use crate::fixture::{Fixture, post};

#[tokio::test]
async fn bodies_share_a_bounded_memory() {
    let options = RouterOptions { body_bytes_max: 2048, body_memory_max: 2048, ..RouterOptions::default() };
    let server = Fixture::with(options, 8).await;
    let (mut sender, body) = futures::channel::mpsc::channel::<Result<String, std::io::Error>>(1);
    let first = tokio::spawn(server.router.clone().oneshot(post("/v1/completions", Body::from_stream(body))));
    // Nothing has come yet, so nothing is held.
    for _ in 0..10 {
        tokio::task::yield_now().await;
        assert_eq!(server.post("/v1/completions", &json!({"prompt": []})).await.status, 400);
    }
    sender.try_send(Ok(" ".repeat(1500))).unwrap();
    let refused = loop {
        tokio::task::yield_now().await;
        let answer = server.post("/v1/completions", &json!({"prompt": []})).await;
        if answer.status != 400 {
            break answer;
        }
    };
    assert_eq!((refused.status.as_u16(), refused.header("retry-after")), (429, Some("1")));
    sender.try_send(Ok("{}".into())).unwrap();
    drop(sender);
    assert_eq!(first.await.unwrap().unwrap().status(), 400);
    assert_eq!(server.post("/v1/completions", &json!({"prompt": []})).await.status, 400);
}

#[tokio::test]
async fn large_bodies_leave_memory_to_small_ones() {
    let server = Fixture::with(RouterOptions { body_memory_max: 64 << 10, ..Default::default() }, 8).await;
    let stalled = |length| {
        let (mut sender, body) = futures::channel::mpsc::channel::<Result<String, std::io::Error>>(1);
        sender.try_send(Ok(" ".repeat(length))).unwrap();
        let post = post("/v1/completions", Body::from_stream(body));
        (sender, tokio::spawn(server.router.clone().oneshot(post)))
    };
    let first = stalled(60_000);
    tokio::task::yield_now().await; // it takes its memory
    while server.post("/v1/completions", &json!({"prompt": " ".repeat(20_000)})).await.status != 429 {
        tokio::task::yield_now().await;
    }
    let second = stalled(20_000).1.await.unwrap().unwrap();
    assert_eq!((second.status().as_u16(), &second.headers()["retry-after"]), (429, &"1".parse().unwrap()));
    assert_eq!(server.post("/v1/completions", &json!({"prompt": []})).await.status, 400);
    let metrics = server.get("/metrics").await.text;
    assert!(metrics.contains("reason=\"body_memory\"") && !metrics.contains("queue_full"), "{metrics}");
    drop(first);
}

/// With one thread that may compute.
fn runtime() -> Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().max_blocking_threads(1).build().unwrap()
}

/// Keeps that thread until the sender is dropped, so that what is to be prepared waits.
fn keep_thread() -> (Sender<()>, JoinHandle<bool>) {
    let (free, kept) = channel::<()>();
    (free, tokio::task::spawn_blocking(move || kept.recv().is_ok()))
}

#[test]
fn bodies_keep_their_memory_until_their_texts_are_tokens() {
    let text = "a".repeat(30_000);
    runtime().block_on(async {
        let options = RouterOptions { body_memory_max: 64 << 10, ..Default::default() };
        let server = Fixture::with(options, 8).await;
        for (path, body) in [
            ("/v1/chat/completions", json!({ "messages": text })),
            ("/v1/completions", json!({ "prompt": text })),
        ] {
            let (free, keeper) = keep_thread();
            let first = tokio::spawn(server.router.clone().oneshot(post(path, body.to_string())));
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
            let second = tokio::time::timeout(Duration::from_secs(10), server.post(path, &body)).await;
            assert_eq!(second.expect("it waits, too").status, 429, "{path}");
            drop(free);
            keeper.await.unwrap();
            assert_eq!(first.await.unwrap().unwrap().status(), 400, "{path}");
        }
    });
}

#[tokio::test]
async fn prompts_that_are_echoed_keep_their_memory() {
    let padded = |body: Value| post("/v1/completions", format!("{body}{}", " ".repeat(30_000)));
    for (echo, status) in [(true, 429), (false, 400)] {
        let options = RouterOptions { body_memory_max: 64 << 10, ..Default::default() };
        let server = Fixture::with(options, 8).await;
        let first = padded(json!({"prompt": "a", "echo": echo, "max_tokens": 8}));
        let first = tokio::spawn(server.router.clone().oneshot(first));
        server.gate.allow(1);
        server.until(|stats| stats.steps_total == 1).await;
        let empty = json!({"prompt": []});
        assert_eq!(server.call(padded(empty.clone())).await.status.as_u16(), status, "{echo}");
        server.gate.open();
        assert_eq!(first.await.unwrap().unwrap().status(), 200);
        assert_eq!(server.call(padded(empty)).await.status, 400);
    }
}

/// Each alone would be tokenised where it comes.
#[test]
fn short_prompts_of_a_list_are_one_long_text() {
    runtime().block_on(async {
        let server = Fixture::new().await;
        let (free, keeper) = keep_thread();
        let body = json!({"prompt": vec!["a".repeat(1000); 5], "max_tokens": 1}).to_string();
        let mut list = tokio::spawn(server.router.clone().oneshot(post("/v1/completions", body)));
        let answered = tokio::time::timeout(Duration::from_millis(300), &mut list).await;
        assert!(answered.is_err(), "it does not wait for the thread");
        drop(free);
        keeper.await.unwrap();
        assert_eq!(list.await.unwrap().unwrap().status(), 200);
    });
}

#[tokio::test(start_paused = true)]
async fn a_body_that_never_ends_times_out() {
    let server = Fixture::new().await;
    for (first_s, between_s, end_s) in [(0, 1000, 15), (10, 10, 120), (1000, 1000, 120)] {
        let began = tokio::time::Instant::now();
        let next = move |after_s| async move {
            tokio::time::sleep(Duration::from_secs(after_s)).await;
            Some((Ok::<_, std::io::Error>(" "), between_s))
        };
        let endless = Body::from_stream(futures::stream::unfold(first_s, next));
        let answer = server.call(post("/v1/chat/completions", endless)).await;
        assert_eq!(
            (answer.status.as_u16(), &answer.json()["error"]["code"]),
            (408, &json!("request_timeout"))
        );
        assert_eq!(began.elapsed().as_secs(), end_s);
    }
}
