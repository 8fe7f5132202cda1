//! Input to status, `param` and message; and bytes that no honest client sends.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use ostro_server::models::Loaded;
use ostro_server::{ModelSource, Models, RouterBuilder, RouterOptions};
use serde_json::{Value, json};
use std::time::Duration;
use tower::ServiceExt;

use crate::fixture::{Answer, CONTEXT, Fixture, chat, post};

fn error(answer: &Answer) -> Value {
    let body = answer.json();
    assert_eq!(body.as_object().unwrap().len(), 1, "{body}");
    let error = body["error"].clone();
    let keys: Vec<&String> = error.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["message", "type", "param", "code"]);
    assert!(!error["message"].as_str().unwrap().is_empty());
    assert!(answer.text.len() < 2048, "the error repeats the input");
    error
}

#[tokio::test]
async fn refusals_have_the_envelope_and_name_the_field() {
    let server = Fixture::new().await;
    let words = "x".repeat(CONTEXT as usize);
    let cases = [
        ("/v1/chat/completions", json!({"model": "nope"}), 404, "model", "model_not_found"),
        ("/v1/chat/completions", json!({"temperature": 3}), 400, "temperature", ""),
        ("/v1/chat/completions", json!({"tools": [{}]}), 400, "tools", "unsupported"),
        ("/v1/chat/completions", json!({"messages": words}), 400, "messages", "context_length_exceeded"),
        (
            "/v1/chat/completions",
            json!({"min_tokens": CONTEXT}),
            400,
            "min_tokens",
            "context_length_exceeded",
        ),
        ("/v1/chat/completions", json!({"messages": "raise"}), 400, "messages", ""),
        ("/v1/chat/completions", json!({"logit_bias": {"258": 1}}), 400, "logit_bias", ""),
        ("/v1/chat/completions", json!({"stop_token_ids": [258]}), 400, "stop_token_ids", ""),
        ("/v1/completions", json!({"messages": null, "prompt": [258]}), 400, "messages", ""),
        ("/v1/completions", json!({"prompt": "x", "suffix": "y"}), 400, "messages", ""),
        ("/tokenize", json!({"messages": [], "temperature": null}), 400, "temperature", ""),
    ];
    for (path, fields, status, param, code) in cases {
        let answer = server.post(path, &chat(fields.clone())).await;
        let error = error(&answer);
        assert_eq!(
            (answer.status.as_u16(), &error["param"]),
            (status, &json!(param)),
            "{path} {fields}: {error}"
        );
        assert_eq!(error["code"].as_str().unwrap_or_default(), code, "{path} {fields}");
        assert_eq!(error["type"], "invalid_request_error");
    }
    let answer = server.post("/v1/completions", &json!({"prompt": [1, 258]})).await;
    assert_eq!(error(&answer)["param"], "prompt");
    let answer = server.post("/v1/completions", &json!({"prompt": "x".repeat(CONTEXT as usize)})).await;
    assert_eq!(error(&answer)["code"], "context_length_exceeded");
    let answer = server.post("/detokenize", &json!({"tokens": [258]})).await;
    assert_eq!(error(&answer)["param"], "tokens");
}

/// JSON in a key that serde_json reads as JSON again, so often that the stack overflowed.
fn nested() -> String {
    let mut text = "1".to_owned();
    for _ in 0..100 {
        let escaped = text.replace('\\', "\\u005c").replace('"', "\\u0022");
        let (open, close) = ("[".repeat(110), "]".repeat(110));
        text = format!(r#"{open}{{"$serde_json::private::RawValue":"{escaped}"}}{close}"#);
    }
    format!("{{\"a\":{text}}}")
}

#[tokio::test]
async fn json_in_private_keys_of_the_parser_is_refused() {
    let server = Fixture::new().await;
    let body = format!(
        r#"{{"messages":[{{"role":"user","content":"x"}}],"max_tokens":1,"chat_template_kwargs":{}}}"#,
        nested()
    );
    for path in ["/v1/chat/completions", "/v1/completions", "/tokenize"] {
        let answer = server.call(post(path, body.clone())).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        assert!(error(&answer)["message"].as_str().unwrap().contains("$serde_json::private::"));
    }
    // What one reader passes over, and others do not take for a number.
    let hidden = body.replacen(r#""content":"x""#, r#""content":"x","annotations":[1e999]"#, 1);
    assert_ne!(hidden, body);
    let answer = server.call(post("/v1/chat/completions", hidden)).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    // Text to whoever reads the request, JSON to a template; this one cannot take calls.
    let function = json!({ "name": "f", "arguments": nested() });
    let calls = json!([{ "id": "1", "type": "function", "function": function }]);
    let messages = json!([
        { "role": "user", "content": "x" },
        { "role": "assistant", "content": "", "tool_calls": calls },
    ]);
    let answer = server.post("/tokenize", &json!({ "messages": messages })).await;
    assert!(answer.status.is_success() || answer.status.is_client_error(), "{}", answer.text);
}

#[tokio::test]
async fn a_conversation_that_becomes_no_tokens_is_refused() {
    let server = Fixture::new().await;
    let answer = server.chat(json!({ "chat_template_kwargs": { "mood": "silent" } })).await;
    assert_eq!((answer.status, &error(&answer)["param"]), (StatusCode::BAD_REQUEST, &json!("messages")));
}

/// Texts beside the content, which a template may write, count too.
#[tokio::test]
async fn long_reasoning_is_refused_before_it_is_tokenised() {
    let server = Fixture::new().await;
    let reasoning = "x".repeat(CONTEXT as usize * 256);
    let messages = json!([{ "role": "assistant", "content": "x", "reasoning_content": reasoning }]);
    let answer = server.chat(json!({ "messages": messages })).await;
    let error = error(&answer);
    assert_eq!((answer.status, &error["code"]), (StatusCode::BAD_REQUEST, &json!("context_length_exceeded")));
    assert!(error["message"].as_str().unwrap().contains("as the chat template writes it"), "{error}");
}

#[tokio::test]
async fn a_prompt_that_is_too_long_is_told_in_words_that_clients_know() {
    let server = Fixture::new().await;
    let (tokens, bytes) = ("x".repeat(CONTEXT as usize), "x".repeat(CONTEXT as usize * 256 + 1));
    let reasoning = json!([{ "role": "assistant", "content": "x", "reasoning_content": bytes }]);
    for (path, param, prompt) in [
        ("/v1/chat/completions", "messages", json!(tokens)),
        ("/v1/chat/completions", "messages", json!(bytes)),
        ("/v1/chat/completions", "messages", reasoning),
        ("/v1/completions", "prompt", json!(tokens)),
        ("/v1/completions", "prompt", json!(bytes)),
        ("/v1/completions", "prompt", json!(vec![120; CONTEXT as usize])),
    ] {
        let error = error(&server.post(path, &json!({ param: prompt })).await);
        let message = error["message"].as_str().unwrap();
        let begin = format!("this model's maximum context length is {CONTEXT} tokens");
        let end = format!("please reduce the length of the {param}");
        assert!(message.starts_with(&begin) && message.ends_with(&end), "{message}");
        assert_eq!((&error["code"], &error["param"]), (&json!("context_length_exceeded"), &json!(param)));
    }
}

#[tokio::test]
async fn a_long_breaker_is_refused() {
    let server = Fixture::new().await;
    let answer = server
        .chat(json!({ "dry_multiplier": 1, "dry_sequence_breakers": ["x".repeat(64), "x".repeat(65)] }))
        .await;
    assert_eq!(
        (answer.status, &error(&answer)["param"]),
        (StatusCode::BAD_REQUEST, &json!("dry_sequence_breakers"))
    );
}

#[tokio::test]
async fn a_prompt_that_leaves_one_token_is_answered() {
    let server = Fixture::new().await;
    // `user: ` before it, `\n>` behind it.
    let content = "x".repeat(CONTEXT as usize - 8 - 1);
    let body = server.chat(json!({"messages": content})).await.json();
    assert_eq!(body["choices"][0]["finish_reason"], "length", "{body}");
    assert_eq!(body["usage"]["completion_tokens"], 1);
    let answer = server.chat(json!({"messages": format!("{content}x")})).await;
    assert_eq!(error(&answer)["code"], "context_length_exceeded");
}

#[tokio::test]
async fn routes_and_methods_that_do_not_exist_have_the_envelope() {
    let server = Fixture::new().await;
    let answer = server.get("/v1/chat/completion").await;
    assert_eq!((answer.status.as_u16(), &error(&answer)["code"]), (404, &json!("unknown_url")));
    let answer = server.get("/v1/chat/completions").await;
    assert_eq!((answer.status.as_u16(), &error(&answer)["code"]), (405, &json!("method_not_allowed")));
    assert_eq!(answer.header("allow"), Some("POST"));
    let answer = server.get("/v1/models/no/such").await;
    assert_eq!((answer.status.as_u16(), &error(&answer)["code"]), (404, &json!("model_not_found")));
}

#[tokio::test]
async fn a_route_that_does_not_exist_is_told_with_the_one_that_does() {
    let server = Fixture::new().await;
    for (path, hint) in [
        ("/chat/completions", "; did you mean /v1/chat/completions? the base URL of clients ends in /v1"),
        ("/v1/responses", "; the Responses API is not supported by this build, use /v1/chat/completions"),
        ("/v1/embeddings", ""),
    ] {
        let answer = server.post(path, &json!({})).await;
        assert_eq!(error(&answer)["message"], format!("no route for POST {path}{hint}"));
        assert_eq!((answer.status.as_u16(), &error(&answer)["code"]), (404, &json!("unknown_url")));
    }
}

#[tokio::test]
async fn a_body_must_be_json_of_bounded_size() {
    let server = Fixture::with(RouterOptions { body_bytes_max: 1000, ..RouterOptions::default() }, 8).await;
    let send = |request: Request<Body>| server.call(request);
    let path = "/v1/chat/completions";
    let answer = send(post(path, "x".repeat(1001))).await;
    assert_eq!(
        (answer.status, &error(&answer)["code"]),
        (StatusCode::PAYLOAD_TOO_LARGE, &json!("request_too_large"))
    );
    // Told by its head alone, and by its bytes alone.
    let announced = Request::post(path).header("content-length", "1001").body(Body::empty()).unwrap();
    assert_eq!(send(announced).await.status, StatusCode::PAYLOAD_TOO_LARGE);
    let pieces = futures::stream::iter((0..11).map(|_| Ok::<_, std::io::Error>("x".repeat(100))));
    assert_eq!(send(post(path, Body::from_stream(pieces))).await.status, StatusCode::PAYLOAD_TOO_LARGE);
    let form = Request::post(path).header("content-type", "text/plain").body(Body::from("{}")).unwrap();
    assert_eq!(send(form).await.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let mut packed = post(path, "{}");
    packed.headers_mut().insert("content-encoding", "gzip".parse().unwrap());
    assert_eq!(send(packed).await.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let bare = Request::post(path).body(Body::from("{}")).unwrap();
    assert_eq!(error(&send(bare).await)["param"], "messages");
}

#[tokio::test]
async fn hostile_bodies_get_a_short_4xx_on_every_route() {
    let server = Fixture::new().await;
    let deep = |open: &str, close: &str| [open.repeat(100_000), close.repeat(100_000)].concat().into_bytes();
    let field = |name: &str, value: Value| chat(json!({name: value})).to_string().into_bytes();
    let bodies = [
        Vec::new(),
        b"hello".to_vec(),
        deep("[", "]"),
        deep("{\"a\":", "}"),
        deep("{\"messages\":[", "]}"),
        b"{\"messages\":\"\xff\xfe\"}".to_vec(),
        br#"{"messages":"\ud800"}"#.to_vec(),
        br#"{"messages":"Hi"#.to_vec(),
        field("max_tokens", json!(u64::MAX)),
        field("n", json!(1e308)),
        field("stop", json!(vec!["xxxxxxxxxx"; 100_000])),
        field("stop", json!("x".repeat(1 << 20))),
        field("top_logprobs", json!(1_000_000_000)),
        field("messages", json!(vec![json!({"role": "user", "content": "x"}); 100_000])),
        field("tools", json!(vec![0; 500_000])),
        field("chat_template", json!("{% for i in range(1e9) %}x{% endfor %}")),
        field("prompt", json!(vec![0; 2_000_000])),
        field("prompt", json!(vec!["x"; 1000])),
        field("tokens", json!(vec![0; 2_000_000])),
    ];
    for path in ["/v1/chat/completions", "/v1/completions", "/tokenize", "/detokenize"] {
        for body in &bodies {
            let answer = server.call(post(path, body.clone())).await;
            let shown = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
            assert!(answer.status.is_client_error(), "{path} {shown}: {}", answer.status);
            error(&answer);
        }
    }
    assert_eq!(server.chat(json!({})).await.status, 200);
}

#[tokio::test]
async fn a_full_queue_is_429_with_a_time_to_come_back() {
    let server = Fixture::with(RouterOptions::default(), 1).await;
    // More than can run and wait together; the gate is closed.
    let router = server.router.clone();
    let answers: Vec<_> = (0..40)
        .map(|_| {
            tokio::spawn(ServiceExt::oneshot(router.clone(), post("/v1/completions", r#"{"prompt":"y"}"#)))
        })
        .collect();
    // Only a refusal can end now.
    while !answers.iter().any(|answer| answer.is_finished()) {
        tokio::task::yield_now().await;
    }
    server.gate.open();
    let mut refused = 0;
    for answer in answers {
        let answer = answer.await.unwrap().unwrap();
        match answer.status().as_u16() {
            200 => {}
            429 => {
                let seconds: u64 = answer.headers()["retry-after"].to_str().unwrap().parse().unwrap();
                assert!((1..=60).contains(&seconds));
                refused += 1;
            }
            other => panic!("{other}"),
        }
    }
    assert!(refused > 0, "nothing was refused");
    let metrics = server.get("/metrics").await.text;
    for prefix in ["ostro_", "vllm:"] {
        let labels = r#"{model_name="test/chain",reason="queue_full"}"#;
        let line = format!("{prefix}admission_rejections_total{labels} {refused}");
        assert!(metrics.contains(&line), "{line}\n{metrics}");
    }
}

#[tokio::test]
async fn a_full_queue_refuses_before_the_prompt_is_looked_at() {
    let server = Fixture::with(RouterOptions::default(), 1).await;
    // Of 17 places, with the gate closed.
    let router = server.router.clone();
    let full = tokio::spawn(router.oneshot(post("/v1/completions", r#"{"prompt":"y","n":16}"#)));
    while server.engine.has_room(2) {
        tokio::task::yield_now().await;
    }
    // One sequence fits, two do not, whatever the template says.
    assert_eq!(server.chat(json!({"messages": "raise"})).await.status, 400);
    assert_eq!(server.chat(json!({"messages": "raise", "n": 2})).await.status, 429);
    assert_eq!(server.post("/v1/completions", &json!({"prompt": [[1], [999]]})).await.status, 429);
    server.gate.open();
    assert_eq!(full.await.unwrap().unwrap().status(), 200);
}

#[tokio::test]
async fn a_loading_model_is_waited_for_and_then_503() {
    let (release, released) = std::sync::mpsc::channel::<Result<Loaded, String>>();
    let source = ModelSource::new("slow", move |_| released.recv().unwrap().map_err(Into::into));
    let models = Models::load(vec![source], None).unwrap();
    let call = |wait| {
        let router = RouterBuilder::new(models.clone()).load_wait(wait).build().unwrap();
        ServiceExt::oneshot(router, post("/v1/completions", r#"{"prompt":"y"}"#))
    };
    let answer = call(Duration::ZERO).await.unwrap();
    assert_eq!(answer.status(), 503);
    assert_eq!(answer.headers()["retry-after"], "5");
    let waiting = tokio::spawn(call(Duration::MAX));
    release.send(Err("the disk is gone".into())).unwrap();
    let answer = waiting.await.unwrap().unwrap();
    assert_eq!(answer.status(), 503);
    let body = http_body_util::BodyExt::collect(answer.into_body()).await.unwrap().to_bytes();
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(body["error"]["code"], "model_load_failed");
    assert!(body["error"]["message"].as_str().unwrap().contains("the disk is gone"), "{body}");
}
