//! `/v1/chat/completions`.

use serde_json::{Value, json};

use crate::fixture::{ANSWER, ANSWER_TOKENS, Fixture, ID};

/// Tokens of `user: Hi\n>`.
const PROMPT_TOKENS: u64 = 10;

fn text_of(events: &[Value]) -> String {
    events.iter().filter_map(|event| event["choices"][0]["delta"]["content"].as_str()).collect()
}

#[tokio::test]
async fn an_answer_has_openais_shape() {
    let server = Fixture::new().await;
    let answer = server.chat(json!({})).await;
    let body = answer.json();
    assert_eq!(answer.status, 200, "{body}");
    assert!(body["id"].as_str().unwrap().starts_with("chatcmpl-"));
    assert_eq!((&body["object"], &body["model"]), (&json!("chat.completion"), &json!(ID)));
    assert!(body["created"].as_u64().unwrap() > 1_700_000_000);
    let message = json!({"role": "assistant", "content": ANSWER, "refusal": null});
    let choice = json!({"index": 0, "message": message, "logprobs": null, "finish_reason": "stop"});
    assert_eq!(body["choices"], json!([choice]));
    let usage = json!({"prompt_tokens": PROMPT_TOKENS, "completion_tokens": ANSWER_TOKENS,
        "total_tokens": PROMPT_TOKENS + ANSWER_TOKENS, "prompt_tokens_details": {"cached_tokens": 0}});
    assert_eq!(body["usage"], usage);
}

#[tokio::test]
async fn a_stream_gives_the_same_text_in_openais_events() {
    let server = Fixture::new().await;
    let answer = server.chat(json!({"stream": true, "stream_options": {"include_usage": true}})).await;
    assert_eq!(answer.header("content-type"), Some("text/event-stream; charset=utf-8"));
    assert_eq!(answer.header("x-accel-buffering"), Some("no"));
    let events = answer.events();
    assert_eq!(text_of(&events), ANSWER);
    assert_eq!(events[0]["choices"][0]["delta"]["role"], "assistant");
    assert!(
        events
            .iter()
            .all(|event| event["object"] == "chat.completion.chunk" && event["id"] == events[0]["id"])
    );
    let (usage, rest) = events.split_last().unwrap();
    assert_eq!(usage["choices"], json!([]));
    assert_eq!(usage["usage"]["completion_tokens"], ANSWER_TOKENS);
    assert!(rest.iter().all(|event| event.as_object().unwrap().get("usage") == Some(&Value::Null)));
    assert_eq!(rest.last().unwrap()["choices"][0]["finish_reason"], "stop");
    assert!(rest[1..].iter().all(|event| event["choices"][0]["delta"].get("role").is_none()));
    // é is two tokens and one event.
    assert!(rest.iter().any(|event| event["choices"][0]["delta"]["content"] == "é"));
}

#[tokio::test]
async fn a_stream_has_no_usage_unless_asked() {
    let events = Fixture::new().await.chat(json!({"stream": true})).await.events();
    assert!(events.iter().all(|event| event.get("usage").is_none()));
}

#[tokio::test]
async fn every_event_has_the_usage_so_far_when_asked() {
    let server = Fixture::new().await;
    let options = json!({"include_usage": true, "continuous_usage_stats": true});
    let chat = server.chat(json!({"n": 2, "stream": true, "stream_options": options})).await;
    let completion = json!({"prompt": ">", "max_tokens": 64, "n": 2, "temperature": 0, "stream": true,
        "stream_options": options});
    let completion = server.post("/v1/completions", &completion).await;
    for answer in [chat, completion] {
        let events = answer.events();
        let counts: Vec<u64> =
            events.iter().map(|event| event["usage"]["completion_tokens"].as_u64().unwrap()).collect();
        let all = 2 * ANSWER_TOKENS;
        assert!(counts.is_sorted() && counts[0] == 1 && counts.ends_with(&[all, all]), "{counts:?}");
        let prompt_tokens = &events.last().unwrap()["usage"]["prompt_tokens"];
        assert!(events.iter().all(|event| event["usage"]["prompt_tokens"] == *prompt_tokens), "{events:?}");
    }
    let options = json!({"continuous_usage_stats": true});
    let events = server.chat(json!({"stream": true, "stream_options": options})).await.events();
    assert!(events.iter().all(|event| event.get("usage").is_none()));
}

#[tokio::test]
async fn a_stop_string_ends_the_answer_and_is_not_in_it() {
    let server = Fixture::new().await;
    for (stop, expected) in [(json!("mé"), "abcdefghijkl"), (json!(["zzz", "cd"]), "ab"), (json!("a"), "")] {
        let body = server.chat(json!({"stop": stop})).await.json();
        assert_eq!(body["choices"][0]["message"]["content"], expected);
        assert_eq!(body["choices"][0]["finish_reason"], "stop");
        let events = server.chat(json!({"stop": stop, "stream": true})).await.events();
        assert_eq!(text_of(&events), expected);
    }
    // Text that only began like a stop string comes in the end.
    let body = server.chat(json!({"stop": "z!"})).await.json();
    assert_eq!(body["choices"][0]["message"]["content"], ANSWER);
    server.until(|stats| stats.blocks_used == 0).await;
}

#[tokio::test]
async fn a_stop_token_ends_the_answer_without_its_text() {
    let server = Fixture::new().await;
    let stop = u32::from(b'd');
    let body = server.chat(json!({"stop_token_ids": [stop], "return_token_ids": true})).await.json();
    let choice = &body["choices"][0];
    assert_eq!((&choice["message"]["content"], &choice["finish_reason"]), (&json!("abc"), &json!("stop")));
    assert_eq!(choice["token_ids"], json!([97, 98, 99, 100]));
}

#[tokio::test]
async fn a_stop_string_may_be_a_special_token() {
    let fields = json!({"ignore_eos": true, "stop": ["zzz", "<|end|>"], "max_tokens": 40});
    let body = Fixture::new().await.chat(fields).await.json();
    let choice = &body["choices"][0];
    assert_eq!((&choice["message"]["content"], &choice["finish_reason"]), (&json!(ANSWER), &json!("stop")));
    assert_eq!(body["usage"]["completion_tokens"], ANSWER_TOKENS);
}

#[tokio::test]
async fn max_tokens_ends_with_length_and_min_tokens_delays_the_end() {
    let server = Fixture::new().await;
    let body = server.chat(json!({"max_tokens": 3})).await.json();
    assert_eq!(body["choices"][0]["message"]["content"], "abc");
    assert_eq!(body["choices"][0]["finish_reason"], "length");
    let body = server.chat(json!({"max_completion_tokens": 40, "ignore_eos": true})).await.json();
    assert_eq!(body["usage"]["completion_tokens"], 40);
    let body = server.chat(json!({"stop": ["b", "e"], "min_tokens": 3})).await.json();
    assert_eq!(body["choices"][0]["message"]["content"], "abcd");
}

#[tokio::test]
async fn token_ids_are_those_of_the_engine() {
    let server = Fixture::new().await;
    let prompt: Vec<u8> = b"user: Hi\n>".to_vec();
    let mut answer: Vec<u32> = ANSWER.bytes().map(u32::from).collect();
    answer.push(256);
    let body = server.chat(json!({"return_token_ids": true})).await.json();
    assert_eq!(body["prompt_token_ids"], json!(prompt));
    assert_eq!(body["choices"][0]["token_ids"], json!(answer));
    let events = server.chat(json!({"return_token_ids": true, "stream": true})).await.events();
    assert_eq!(events[0]["prompt_token_ids"], json!(prompt));
    assert!(events[1..].iter().all(|event| event.get("prompt_token_ids").is_none()));
    let streamed: Vec<u64> = events
        .iter()
        .flat_map(|event| event["choices"][0]["token_ids"].as_array().unwrap())
        .map(|id| id.as_u64().unwrap())
        .collect();
    assert_eq!(json!(streamed), json!(answer));
}

#[tokio::test]
async fn logprobs_come_with_text_and_bytes() {
    let server = Fixture::new().await;
    let body = server.chat(json!({"logprobs": true, "top_logprobs": 2, "max_tokens": 15})).await.json();
    let content = body["choices"][0]["logprobs"]["content"].as_array().unwrap().clone();
    assert_eq!(content.len(), 15);
    assert_eq!((&content[0]["token"], &content[0]["bytes"]), (&json!("a"), &json!([97])));
    // The first half of é is no text on its own.
    assert_eq!((&content[13]["token"], &content[13]["bytes"]), (&json!("\u{fffd}"), &json!([0xc3])));
    for entry in &content {
        assert_eq!(entry["top_logprobs"].as_array().unwrap().len(), 2);
        assert_eq!(entry["top_logprobs"][0]["token"], entry["token"]);
        assert!(entry["logprob"].as_f64().unwrap() <= 0.0);
    }
    let none = server.chat(json!({"logprobs": true, "max_tokens": 1})).await.json();
    assert_eq!(none["choices"][0]["logprobs"]["content"][0]["top_logprobs"], json!([]));
    let events = server.chat(json!({"logprobs": true, "max_tokens": 3, "stream": true})).await.events();
    let tokens: String = events
        .iter()
        .filter_map(|event| event["choices"][0]["logprobs"]["content"].as_array())
        .flatten()
        .map(|entry| entry["token"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(tokens, "abc");
    let last = events.iter().rfind(|event| event["choices"][0]["finish_reason"].is_string()).unwrap();
    assert_eq!(last["choices"][0]["logprobs"], json!(null), "{last}");
}

#[tokio::test]
async fn more_logprobs_than_are_kept_are_refused() {
    let server = Fixture::new().await;
    for (path, asks, param) in [
        (
            "/v1/chat/completions",
            json!({"messages": "Hi", "logprobs": true, "top_logprobs": 20}),
            "top_logprobs",
        ),
        ("/v1/completions", json!({"prompt": "y", "logprobs": 20}), "logprobs"),
    ] {
        let send = async |n: u64, max_tokens: u64| {
            let mut body = asks.clone();
            body["n"] = json!(n);
            body["max_tokens"] = json!(max_tokens);
            server.post(path, &body).await
        };
        let refused = send(128, 4096).await;
        assert_eq!(refused.status, 400, "{path}");
        assert_eq!(refused.json()["error"]["param"], param);
        for (n, max_tokens) in [(1, 4096), (128, 4)] {
            let answer = send(n, max_tokens).await;
            assert_eq!(answer.status, 200, "{path} {n} {max_tokens}: {}", answer.text);
        }
    }
}

#[tokio::test]
async fn n_choices_are_told_apart_by_index() {
    let server = Fixture::new().await;
    let body = server.chat(json!({"n": 3})).await.json();
    let choices = body["choices"].as_array().unwrap();
    assert_eq!(choices.iter().map(|choice| choice["index"].as_u64().unwrap()).collect::<Vec<_>>(), [0, 1, 2]);
    assert!(choices.iter().all(|choice| choice["message"]["content"] == ANSWER));
    assert_eq!(body["usage"]["prompt_tokens"], PROMPT_TOKENS);
    assert_eq!(body["usage"]["completion_tokens"], 3 * ANSWER_TOKENS);
    let events = server.chat(json!({"n": 3, "stream": true})).await.events();
    for index in 0..3 {
        let own: Vec<Value> = events.iter().filter(|e| e["choices"][0]["index"] == index).cloned().collect();
        assert_eq!(text_of(&own), ANSWER);
        assert_eq!(own[0]["choices"][0]["delta"]["role"], "assistant");
    }
}

#[tokio::test]
async fn a_seed_repeats_an_answer_and_its_choices_differ() {
    let server = Fixture::new().await;
    let fields = json!({"temperature": 2, "seed": 7, "n": 2, "max_tokens": 24, "ignore_eos": true});
    let texts = |body: Value| [0, 1].map(|i| body["choices"][i]["message"]["content"].clone());
    let first = texts(server.chat(fields.clone()).await.json());
    assert_eq!(texts(server.chat(fields).await.json()), first);
    assert_ne!(first[0], first[1]);
}

#[tokio::test]
async fn a_bias_can_forbid_a_token() {
    let body = Fixture::new().await.chat(json!({"logit_bias": {"97": -100}, "max_tokens": 1})).await.json();
    assert_ne!(body["choices"][0]["message"]["content"], "a");
}

#[tokio::test]
async fn a_second_prompt_finds_the_first_ones_cache() {
    let server = Fixture::new().await;
    let long = json!({"messages": [{"role": "user", "content": "x".repeat(100)}], "max_tokens": 1});
    let cached = |body: Value| body["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap();
    assert_eq!(cached(server.chat(long.clone()).await.json()), 0);
    assert!(cached(server.chat(long.clone()).await.json()) >= 96);
    let mut stopped = long.clone();
    stopped["stop"] = json!("b");
    stopped["max_tokens"] = json!(9);
    assert!(cached(server.chat(stopped).await.json()) >= 96);
    let mut salted = long;
    salted["cache_salt"] = json!("tenant");
    assert_eq!(cached(server.chat(salted).await.json()), 0);
}

#[tokio::test]
async fn every_name_of_the_model_is_answered_with_its_id() {
    let server = Fixture::new().await;
    for name in ["default", "chain", ID, ""] {
        assert_eq!(server.chat(json!({"model": name, "max_tokens": 1})).await.json()["model"], ID);
    }
}
