//! What operators see: models, health, metrics, documents, headers, logs.

use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::http::Request;
use ostro_engine::schedule::SchedulerOptions;
use ostro_server::access_log::{self, AccessLogFormat};
use ostro_server::models::Loaded;
use ostro_server::{ModelSource, Models, RouterBuilder, RouterOptions};
use serde_json::{Value, json};
use tower::ServiceExt;
use tracing_subscriber::layer::SubscriberExt;

use crate::fixture::{ANSWER_TOKENS, Fixture, ID, chat, post, schedule};

#[tokio::test]
async fn models_show_their_state_and_answer_to_all_names() {
    let server = Fixture::new().await;
    let list = server.get("/v1/models").await.json();
    assert_eq!(list["object"], "list");
    let card = &list["data"][0];
    assert_eq!(
        (&card["id"], &card["object"], &card["status"]),
        (&json!(ID), &json!("model"), &json!("loaded"))
    );
    assert_eq!((&card["max_model_len"], &card["aliases"]), (&json!(2048), &json!(["chain"])));
    for name in [ID, "chain", "default", "test%2Fchain"] {
        assert_eq!(server.get(&format!("/v1/models/{name}")).await.json(), *card, "{name}");
    }
}

#[tokio::test]
async fn health_answers_while_a_model_loads() {
    let (release, released) = std::sync::mpsc::channel::<()>();
    let source = ModelSource::new("slow", move |_| {
        let _ = released.recv();
        Err("let go".into())
    });
    let router = RouterBuilder::new(Models::load(vec![source], None).unwrap()).build().unwrap();
    let call = |path: &str| router.clone().oneshot(Request::get(path).body(Body::empty()).unwrap());
    for path in ["/health", "/"] {
        assert_eq!(call(path).await.unwrap().status(), 200);
    }
    assert_eq!(call("/ready").await.unwrap().status(), 503);
    let list = http_body_util::BodyExt::collect(call("/v1/models").await.unwrap().into_body()).await.unwrap();
    let list: Value = serde_json::from_slice(&list.to_bytes()).unwrap();
    assert_eq!(list["data"][0]["status"], "loading");
    drop(release);
}

#[tokio::test]
async fn a_model_that_does_not_load_leaves_the_others_serving() {
    let server = Fixture::new().await;
    let loaded = Loaded::from(server.engine.clone());
    let sources = vec![
        ModelSource::new("broken", |_| Err("no such file".into())),
        ModelSource::new("good", move |_| Ok(loaded)),
    ];
    let models = Models::load(sources, None).unwrap();
    models.any_loaded().await.unwrap();
    assert_eq!(server.get("/ready").await.status, 200);
    let router = RouterBuilder::new(models).build().unwrap();
    for (model, status) in [("broken", 503), ("good", 200)] {
        let request = post("/v1/chat/completions", chat(json!({"model": model})).to_string());
        assert_eq!(router.clone().oneshot(request).await.unwrap().status(), status, "{model}");
    }
}

#[tokio::test]
async fn metrics_count_requests_and_tokens_by_model() {
    let server = Fixture::new().await;
    server.chat(json!({})).await;
    server.chat(json!({"temperature": 9})).await;
    server.chat(json!({"model": "no-such"})).await;
    server.get("/no-such-route").await;
    server.until(|stats| stats.finished_stop_total == 1).await;
    let answer = server.get("/metrics").await;
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let text = answer.text;
    let route = r#"method="POST",path="/v1/chat/completions""#;
    for line in [
        format!(r#"http_requests_total{{{route},model="{ID}",model_name="{ID}",status="200"}} 1"#),
        format!(r#"http_requests_total{{{route},model="none",model_name="none",status="400"}} 1"#),
        format!(r#"http_requests_total{{{route},model="unknown",model_name="unknown",status="404"}} 1"#),
        r#"http_requests_total{method="GET",path="<unmatched>",model="none",model_name="none",status="404"} 1"#.into(),
        format!(r#"ostro_generation_tokens_total{{model_name="{ID}"}} {ANSWER_TOKENS}"#),
        format!(r#"vllm:generation_tokens_total{{model_name="{ID}"}} {ANSWER_TOKENS}"#),
        format!(r#"vllm:prompt_tokens_total{{model_name="{ID}"}} 10"#),
        format!(r#"vllm:request_success_total{{model_name="{ID}",finished_reason="stop"}} 1"#),
        format!(r#"vllm:time_to_first_token_seconds_count{{model_name="{ID}"}} 1"#),
        format!(r#"ostro_inter_token_latency_seconds_count{{model_name="{ID}"}} {}"#, ANSWER_TOKENS - 1),
        format!(r#"ostro_queue_seconds_count{{model_name="{ID}"}} 1"#),
        format!(r#"ostro_model_loaded{{model_name="{ID}"}} 1"#),
        format!(r#"vllm:cache_config_info{{model_name="{ID}",block_size="16",num_gpu_blocks="1024"}} 1"#),
    ] {
        let present = text.lines().any(|have| have == line || have == format!("{line}.0"));
        assert!(present, "{line}\n{text}");
    }
    for name in [
        "ostro_requests_running",
        "ostro_requests_waiting",
        "ostro_kv_blocks_used",
        "vllm:num_requests_running",
        "vllm:num_requests_waiting",
        "vllm:kv_cache_usage_perc",
    ] {
        let line = format!(r#"{name}{{model_name="{ID}"}} 0.0"#);
        assert!(text.lines().any(|have| have == line), "{line}\n{text}");
    }
    for (name, shortest) in
        [("ostro_inter_token_latency_seconds", "0.001"), ("ostro_request_seconds", "0.01")]
    {
        let bucket = format!(r#"{name}_bucket{{le="{shortest}",model_name="{ID}"}} "#);
        assert!(text.contains(&bucket), "{bucket}\n{text}");
    }
    assert!(
        text.contains("ostro_build_info{version=") && text.contains("ostro_model_load_seconds{"),
        "{text}"
    );
    let mut request = Request::get("/metrics").body(Body::empty()).unwrap();
    request.headers_mut().insert("accept", "application/openmetrics-text;version=1.0.0".parse().unwrap());
    let answer = server.call(request).await;
    assert!(answer.header("content-type").unwrap().starts_with("application/openmetrics-text"));
    assert!(answer.text.ends_with("# EOF\n"));
}

#[tokio::test]
async fn a_prompt_counts_once_however_often_it_is_preempted() {
    // Room for one of two answers, and none for what is computed already.
    let schedule = SchedulerOptions { blocks: 8, context_len: 128, prefix_cache_n: 0, ..schedule(8) };
    let server = Fixture::scheduled(RouterOptions::default(), schedule).await;
    let ask = || server.chat(json!({"max_tokens": 110, "ignore_eos": true}));
    let both_run = async {
        server.step_until(server.until(|stats| stats.sequences_running == 2)).await;
        server.gate.open();
    };
    tokio::join!(ask(), ask(), both_run);
    assert!(server.engine.stats().preemptions_total > 0);
    let text = server.get("/metrics").await.text;
    for name in ["ostro_request_prompt_tokens_sum", "ostro_prompt_tokens_total", "vllm:prompt_tokens_total"] {
        let line = format!(r#"{name}{{model_name="{ID}"}} 20.0"#);
        assert!(text.lines().any(|have| have == line), "{line}\n{text}");
    }
}

#[tokio::test]
async fn an_answer_that_a_stop_string_ends_counts_as_stopped() {
    let server = Fixture::new().await;
    server.chat(json!({"stop": "c"})).await;
    server.until(|stats| stats.blocks_used == 0).await;
    let text = server.get("/metrics").await.text;
    for line in [
        format!(r#"ostro_sequences_finished_total{{model_name="{ID}",finished_reason="stop"}} 1"#),
        format!(r#"ostro_sequences_finished_total{{model_name="{ID}",finished_reason="abort"}} 0"#),
        format!(r#"ostro_queue_seconds_count{{model_name="{ID}"}} 1"#),
        format!(r#"ostro_prefill_seconds_count{{model_name="{ID}"}} 1"#),
        format!(r#"ostro_decode_seconds_count{{model_name="{ID}"}} 1"#),
        format!(r#"ostro_request_prompt_tokens_sum{{model_name="{ID}"}} 10"#),
        format!(r#"ostro_request_generation_tokens_sum{{model_name="{ID}"}} 3"#),
    ] {
        let present = text.lines().any(|have| have == line || have == format!("{line}.0"));
        assert!(present, "{line}\n{text}");
    }
}

#[tokio::test]
async fn the_document_describes_every_route_and_the_answers_keep_to_it() {
    let server = Fixture::new().await;
    let document = server.get("/openapi.json").await.json();
    let paths = document["paths"].as_object().unwrap();
    let body = |path: &str| match path {
        "/v1/chat/completions" => chat(json!({"max_tokens": 1})),
        "/v1/completions" | "/tokenize" => json!({"prompt": "x"}),
        "/detokenize" => json!({"tokens": [97]}),
        other => panic!("{other} is not tested"),
    };
    assert_eq!(paths.len(), 9, "{:?}", paths.keys());
    for (path, methods) in paths {
        let path = path.replace("{id}", "default");
        for (method, operation) in methods.as_object().unwrap() {
            let good = match method.as_str() {
                "get" => server.get(&path).await,
                _ => server.post(&path, &body(&path)).await,
            };
            let responses = operation["responses"].as_object().unwrap();
            assert_eq!(good.status, 200, "{path}: {}", good.text);
            assert!(responses.contains_key("200"), "{path}");
            if let Some(reference) =
                responses["200"]["content"]["application/json"]["schema"]["$ref"].as_str()
            {
                keeps_to(&document, reference, &good.json());
            }
            if method == "post" {
                let bad = server.post(&path, &json!({"nonsense": 1})).await;
                assert!(bad.status.is_client_error() && responses.contains_key("4XX"), "{path}");
                keeps_to(&document, "#/components/schemas/ErrorEnvelope", &bad.json());
            }
        }
    }
}

/// Every required property is there, and no property is unknown.
fn keeps_to(document: &Value, reference: &str, value: &Value) {
    let schema = document.pointer(reference.trim_start_matches('#')).unwrap_or_else(|| panic!("{reference}"));
    let properties = schema["properties"].as_object().unwrap();
    for name in schema["required"].as_array().into_iter().flatten() {
        assert!(value.get(name.as_str().unwrap()).is_some(), "{reference} lacks {name}: {value}");
    }
    for (name, value) in value.as_object().unwrap() {
        let property = properties.get(name).unwrap_or_else(|| panic!("{reference} has no {name}"));
        match (&property["$ref"], &property["items"]["$ref"]) {
            (Value::String(inner), _) if value.is_object() => keeps_to(document, inner, value),
            (_, Value::String(inner)) => {
                value.as_array().unwrap().iter().for_each(|item| keeps_to(document, inner, item));
            }
            _ => {}
        }
    }
}

#[tokio::test]
async fn every_reference_of_the_document_leads_somewhere() {
    let text = Fixture::new().await.get("/openapi.json").await.text;
    let document: Value = serde_json::from_str(&text).unwrap();
    let mut references = 0;
    for part in text.split("\"$ref\":\"#").skip(1) {
        let reference = part.split('"').next().unwrap();
        assert!(document.pointer(reference).is_some(), "{reference}");
        references += 1;
    }
    assert!(references > 10);
    for operation in
        document["paths"].as_object().unwrap().values().flat_map(|path| path.as_object().unwrap().values())
    {
        let responses = operation["responses"].as_object().unwrap();
        assert!(responses.values().all(|response| response["description"].is_string()), "{operation}");
    }
    let fields = &document["components"]["schemas"]["GenerationFields"]["properties"];
    assert!(fields["temperature"]["description"].as_str().unwrap().contains("greedy"));
}

#[tokio::test]
async fn the_document_tells_the_forms_that_a_value_may_have() {
    let document = Fixture::new().await.get("/openapi.json").await.json();
    let schemas = &document["components"]["schemas"];
    let types = |schema: &Value| -> Vec<Value> {
        schema["oneOf"].as_array().unwrap().iter().map(|form| form["type"].clone()).collect()
    };
    assert_eq!(types(&schemas["Content"]), ["string", "array"]);
    assert_eq!(types(&schemas["PromptSchema"]), ["string", "array", "array", "array"]);
    let stop = &schemas["GenerationFields"]["properties"]["stop"];
    let forms = stop["oneOf"].as_array().unwrap().iter().find(|form| form["oneOf"].is_array());
    assert_eq!(types(forms.unwrap()), ["string", "array"], "{stop}");
}

#[tokio::test]
async fn the_docs_page_loads_nothing_from_elsewhere() {
    let server = Fixture::new().await;
    let answer = server.get("/docs").await;
    assert!(answer.header("content-security-policy").unwrap().contains("default-src 'none'"));
    assert!(!answer.text.contains("http://") && !answer.text.contains("https://"));
    let bare = RouterBuilder::new(server.models.clone()).without_docs_routes().build().unwrap();
    for path in ["/docs", "/openapi.json"] {
        let answer = bare.clone().oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(answer.status(), 404);
    }
}

#[tokio::test]
async fn a_request_id_is_kept_or_made() {
    let server = Fixture::new().await;
    let mut request = post("/v1/chat/completions", "{}");
    request.headers_mut().insert("x-request-id", "mine-1".parse().unwrap());
    assert_eq!(server.call(request).await.header("x-request-id"), Some("mine-1"));
    assert!(server.get("/health").await.header("x-request-id").unwrap().starts_with("req_"));
    let quiet =
        Fixture::with(RouterOptions { request_id_header: false, ..RouterOptions::default() }, 8).await;
    assert_eq!(quiet.get("/health").await.header("x-request-id"), None);
}

#[tokio::test]
async fn browsers_may_call_from_allowed_origins() {
    let server = Fixture::new().await;
    let preflight = |origin: &str| {
        let mut request = Request::options("/v1/chat/completions").body(Body::empty()).unwrap();
        request.headers_mut().insert("origin", origin.parse().unwrap());
        request.headers_mut().insert("access-control-request-method", "POST".parse().unwrap());
        let headers = "authorization,x-stainless-os".parse().unwrap();
        request.headers_mut().insert("access-control-request-headers", headers);
        request
    };
    let any = server.call(preflight("http://a.example")).await;
    assert_eq!(any.header("access-control-allow-origin"), Some("*"));
    assert_eq!(any.header("access-control-allow-headers"), Some("authorization,x-stainless-os"));
    let seen = server.get("/health").await;
    assert_eq!(seen.header("access-control-expose-headers"), Some("x-request-id,retry-after"));
    let options = RouterOptions { allowed_origins: Some(vec!["*".into()]), ..RouterOptions::default() };
    let any = Fixture::with(options, 8).await.call(preflight("http://a.example")).await;
    assert_eq!(any.header("access-control-allow-origin"), Some("*"));
    let options =
        RouterOptions { allowed_origins: Some(vec!["http://a.example".into()]), ..RouterOptions::default() };
    let server = Fixture::with(options, 8).await;
    let yes = server.call(preflight("http://a.example")).await;
    assert_eq!(yes.header("access-control-allow-origin"), Some("http://a.example"));
    assert_eq!(server.call(preflight("http://b.example")).await.header("access-control-allow-origin"), None);
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn the_access_log_tells_how_each_request_ended() {
    let lines = Lines::default();
    let writer = lines.clone();
    let layer = access_log::layer(AccessLogFormat::Json, move || writer.clone());
    // While there is one subscriber only, a place of logging that a thread without it reaches first is off for good.
    let _second = tracing::Dispatch::new(tracing_subscriber::registry());
    let subscriber = tracing_subscriber::registry().with(layer);
    let _guard = tracing::subscriber::set_default(subscriber);
    let server = Fixture::new().await;
    server.get("/health").await;
    let mut request = post("/v1/chat/completions", chat(json!({})).to_string());
    request.headers_mut().insert("x-request-id", "mine-1".parse().unwrap());
    server.call(request).await;
    drop(server.router.clone().oneshot(Request::head("/v1/models").body(Body::empty()).unwrap()).await);
    drop(
        server
            .router
            .clone()
            .oneshot(post("/v1/chat/completions", chat(json!({"stream": true})).to_string()))
            .await,
    );
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 6, "{text}");
    let done = &lines[1];
    assert_eq!((&done["message"], &done["request_id"]), (&json!("request completed"), &json!("mine-1")));
    assert_eq!(
        (&done["status"], &done["end"], &done["model"]),
        (&json!(200), &json!("completed"), &json!(ID))
    );
    assert_eq!(done["completion_tokens"], ANSWER_TOKENS);
    assert_eq!((&lines[3]["method"], &lines[3]["end"]), (&json!("HEAD"), &json!("completed")));
    assert_eq!(lines[5]["end"], "client_disconnected");
}

#[tokio::test]
async fn the_payload_log_holds_request_and_answer() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("payloads.jsonl");
    let options = RouterOptions { payload_log: Some(path.clone()), ..RouterOptions::default() };
    let server = Fixture::with(options, 8).await;
    server.gate.open();
    server.get("/metrics").await;
    // Neither has a body that is read.
    server.get("/v1/models").await;
    let mut text = post("/v1/completions", "{}");
    text.headers_mut().insert("content-type", "text/plain".parse().unwrap());
    server.call(text).await;
    server.chat(json!({"max_tokens": 2})).await;
    let read = || std::fs::read_to_string(&path).unwrap();
    while !read().contains("total_tokens") {
        tokio::task::yield_now().await;
    }
    let entries: Vec<Value> = read().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(entries.len(), 6, "{entries:?}");
    for (pair, (method, path)) in entries.chunks(2).zip([
        ("GET", "/v1/models"),
        ("POST", "/v1/completions"),
        ("POST", "/v1/chat/completions"),
    ]) {
        assert_eq!((&pair[0]["kind"], &pair[1]["kind"]), (&json!("request"), &json!("response")));
        assert_eq!(pair[0]["request_id"], pair[1]["request_id"]);
        assert_eq!((&pair[0]["method"], &pair[0]["path"]), (&json!(method), &json!(path)));
    }
    assert!(entries[4]["body"].as_str().unwrap().contains("\"max_tokens\":2"), "{entries:?}");
    assert!(entries[5]["body"].as_str().unwrap().contains("\"content\":\"ab\""), "{entries:?}");
}
