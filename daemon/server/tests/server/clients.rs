//! Clients that leave: their work ends, their memory comes back, others notice nothing.

use std::time::Duration;

use axum::body::Body;
use futures::StreamExt;
use http_body_util::BodyExt;
use ostro_server::RouterOptions;
use serde_json::json;
use tower::ServiceExt;

use crate::fixture::{ANSWER, Fixture, chat, post};

fn endless(seed: u64, stream: bool) -> axum::http::Request<Body> {
    let fields = json!({"stream": stream, "max_tokens": 1500, "ignore_eos": true, "seed": seed});
    post("/v1/chat/completions", chat(fields).to_string())
}

#[tokio::test]
async fn a_dropped_stream_frees_the_engine() {
    let server = Fixture::with(Default::default(), 8).await;
    server.gate.allow(5);
    let response = server.router.clone().oneshot(endless(1, true)).await.unwrap();
    let mut body = response.into_body().into_data_stream();
    assert!(body.next().await.unwrap().unwrap().starts_with(b"data: "));
    server.until(|stats| stats.steps_total == 5).await;
    drop(body);
    server.gate.open();
    let stats = server.until(|stats| stats.cancelled_total == 1).await;
    assert_eq!((stats.blocks_used, stats.sequences_running, stats.sequences_waiting), (0, 0, 0));
    assert!(stats.generated_tokens_total < 20, "{stats:?}");
}

#[tokio::test]
async fn a_quiet_stream_is_kept_open_by_comments() {
    let options = RouterOptions { keep_alive: Duration::from_millis(1), ..RouterOptions::default() };
    let server = Fixture::with(options, 8).await;
    let response = server.router.clone().oneshot(endless(1, true)).await.unwrap();
    let mut body = response.into_body().into_data_stream();
    for _ in 0..2 {
        assert_eq!(body.next().await.unwrap().unwrap().as_ref(), b": keep-alive\n\n");
    }
}

#[tokio::test]
async fn a_dropped_request_without_stream_frees_the_engine_too() {
    let server = Fixture::with(Default::default(), 8).await;
    server.gate.allow(5);
    let answer = tokio::spawn(server.router.clone().oneshot(endless(1, false)));
    server.until(|stats| stats.steps_total == 5).await;
    answer.abort();
    assert!(answer.await.unwrap_err().is_cancelled());
    server.gate.open();
    let stats = server.until(|stats| stats.cancelled_total == 1).await;
    assert_eq!((stats.blocks_used, stats.sequences_running, stats.sequences_waiting), (0, 0, 0));
}

#[tokio::test]
async fn a_reader_that_stops_reading_holds_up_nobody() {
    let server = Fixture::new().await;
    let response = server.router.clone().oneshot(endless(1, true)).await.unwrap();
    let mut slow = response.into_body().into_data_stream();
    slow.next().await.unwrap().unwrap();
    // The engine finishes the whole answer although nobody takes it.
    server.until(|stats| stats.finished_length_total == 1).await;
    assert_eq!(server.chat(json!({})).await.json()["choices"][0]["message"]["content"], ANSWER);
    let rest: Vec<u8> = slow.map(|piece| piece.unwrap().to_vec()).collect::<Vec<_>>().await.concat();
    assert!(rest.ends_with(b"data: [DONE]\n\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sixty_four_streams_that_come_and_go_leave_nothing_behind() {
    let server = Fixture::new().await;
    let clients = (0..64u64).map(|seed| {
        let router = server.router.clone();
        tokio::spawn(async move {
            let response = router.oneshot(endless(seed, true)).await.unwrap();
            assert_eq!(response.status(), 200);
            let mut body = response.into_body();
            // A third read to the end, the others leave after a few events, some before the first.
            let events = if seed % 3 == 0 { u64::MAX } else { seed * 7 % 23 };
            let mut last = bytes::Bytes::new();
            for _ in 0..events {
                match body.frame().await {
                    Some(frame) => last = frame.unwrap().into_data().unwrap(),
                    None => break,
                }
            }
            assert!(!last.windows(7).any(|window| window == b"\"error\""), "{last:?}");
            assert!(seed % 3 != 0 || last.as_ref() == b"data: [DONE]\n\n", "{last:?}");
        })
    });
    for client in clients.collect::<Vec<_>>() {
        client.await.unwrap();
    }
    let idle = |stats: &ostro_engine::EngineStats| {
        stats.blocks_used + stats.sequences_running + stats.sequences_waiting == 0
            && stats.finished_length_total + stats.cancelled_total == 64
    };
    let stats = server.until(idle).await;
    assert!(
        stats.cancelled_total > 0 && stats.finished_length_total >= 22 && stats.failed_total == 0,
        "{stats:?}"
    );
    assert_eq!(server.chat(json!({})).await.json()["choices"][0]["message"]["content"], ANSWER);
}

#[tokio::test]
async fn an_engine_that_ends_breaks_the_stream_with_an_error_event() {
    let server = Fixture::with(Default::default(), 8).await;
    server.gate.allow(3);
    let response = server.router.clone().oneshot(endless(1, true)).await.unwrap();
    let mut body = response.into_body().into_data_stream();
    body.next().await.unwrap().unwrap();
    server.until(|stats| stats.steps_total == 3).await;
    let engine = server.engine.clone();
    let stopping = tokio::task::spawn_blocking(move || engine.shutdown());
    let rest =
        server.step_until(body.map(|piece| piece.unwrap().to_vec()).collect::<Vec<_>>()).await.concat();
    let rest = String::from_utf8(rest).unwrap();
    assert!(rest.contains("data: {\"error\":{\"message\":") && rest.ends_with("data: [DONE]\n\n"), "{rest}");
    stopping.await.unwrap();
    let answer = server.chat(json!({})).await;
    assert_eq!((answer.status.as_u16(), &answer.json()["error"]["type"]), (500, &json!("server_error")));
}
