//! What a model runs on, in the metrics and the list of models: while it can answer, and no longer.

use std::sync::Arc;
use std::time::Duration;

use ostro_engine::schedule::StepPlan;
use ostro_engine::{
    DeviceInfo, DeviceKind, Engine, EngineHealth, EngineParts, ForwardError, Isa, Logits, Model,
};
use ostro_server::models::Loaded;
use ostro_server::{ModelSource, Models, RouterBuilder};
use serde_json::{Value, json};

use crate::fixture::{Fixture, Gate, ID, chat, engine, info, post, schedule, text};

const UUID: &str = "GPU-00000000-0000-4000-8000-000000000001";

/// A GPU that is lost with the first step.
struct Lost;

impl Model for Lost {
    fn forward(&mut self, _: &StepPlan) -> Result<Logits<'_>, ForwardError> {
        Err(ForwardError { operation: "attention", reason: "it fell off the bus".into(), is_lost: true })
    }
}

/// A server whose model says that it runs on a GPU.
async fn on_a_gpu() -> Fixture {
    let build = |_: &dyn Fn(_)| {
        let schedule = schedule(8);
        let mut info = info(&schedule);
        info.device =
            DeviceInfo { kind: DeviceKind::Cuda, name: "NVIDIA H200".into(), uuid: Some(UUID.into()) };
        let step_limit = Duration::from_secs(60);
        Ok(EngineParts {
            model: Box::new(Lost),
            text: text(),
            info,
            schedule,
            isa: Isa::detect(),
            step_limit,
        })
    };
    let engine = Engine::start(build, &|_| ()).unwrap();
    let loaded = Loaded::from(engine.clone());
    let server = server(ModelSource::new(ID, move |_| Ok(loaded)), engine, Gate::default());
    server.models.loaded().await.unwrap();
    server
}

fn server(source: ModelSource, engine: Engine, gate: Gate) -> Fixture {
    let models = Models::load(vec![source], None).unwrap();
    let router = RouterBuilder::new(models.clone()).build().unwrap();
    Fixture { router, engine, models, gate }
}

/// Lines of the metric, and the entry of `/v1/models`.
async fn shown(server: &Fixture) -> (Vec<String>, Value) {
    let text = server.get("/metrics").await.text;
    let lines = text.lines().filter(|line| line.starts_with("ostro_model_device_info{"));
    let card = server.get("/v1/models").await.json()["data"][0].clone();
    (lines.map(str::to_owned).collect(), card)
}

#[tokio::test]
async fn a_model_on_the_cpu_has_no_uuid() {
    let (lines, card) = shown(&Fixture::new().await).await;
    let line = r#"ostro_model_device_info{model_name="test/chain",device="cpu",uuid="",name="none"} 1"#;
    assert_eq!(lines, [line]);
    assert_eq!(card["device"], json!({"type": "cpu", "name": "none"}));
}

#[tokio::test]
async fn a_model_on_a_gpu_names_it_until_its_engine_has_failed() {
    let server = on_a_gpu().await;
    let (lines, card) = shown(&server).await;
    let line = format!(
        r#"ostro_model_device_info{{model_name="{ID}",device="cuda",uuid="{UUID}",name="NVIDIA H200"}} 1"#
    );
    assert_eq!(lines, [line]);
    assert_eq!(card["device"], json!({"type": "cuda", "name": "NVIDIA H200", "uuid": UUID}));

    assert!(server.chat(json!({})).await.status.is_server_error());
    server.until(|stats| stats.health != EngineHealth::Running).await;
    let (lines, card) = shown(&server).await;
    assert_eq!(lines, [""; 0]);
    assert_eq!((&card["status"], &card["device"]), (&json!("failed"), &json!(null)));
    let text = server.get("/metrics").await.text;
    assert!(text.contains("ostro_model_loaded{model_name=\"test/chain\"} 0"), "{text}");
}

#[tokio::test]
async fn a_model_that_is_not_loaded_has_no_device_yet() {
    let (release, released) = std::sync::mpsc::channel::<()>();
    let source = ModelSource::new("slow", move |_| {
        let _ = released.recv();
        Err("let go".into())
    });
    let gate = Gate::default();
    let (lines, card) = shown(&server(source, engine(&gate, schedule(8)), gate)).await;
    assert_eq!(lines, [""; 0]);
    assert_eq!((&card["status"], &card["device"]), (&json!("loading"), &json!(null)));
    drop(release);
}

#[tokio::test]
async fn errors_of_an_engine_are_logged_with_request_and_model() {
    let log = tempfile::NamedTempFile::new().unwrap();
    let writer = Arc::new(log.reopen().unwrap());
    // While there is one subscriber only, a place of logging that a thread without it reaches first is off for good.
    let _second = tracing::Dispatch::new(tracing_subscriber::registry());
    let subscriber = tracing_subscriber::fmt().json().flatten_event(true).with_writer(writer).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let server = on_a_gpu().await;
    let told = [("mine-1", true, "a stream broke"), ("mine-2", false, "a request failed in the engine")];
    for (id, stream, _) in told {
        let mut request = post("/v1/chat/completions", chat(json!({"stream": stream})).to_string());
        request.headers_mut().insert("x-request-id", id.parse().unwrap());
        server.call(request).await;
    }
    let text = std::fs::read_to_string(log.path()).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for (id, _, message) in told {
        let line = lines.iter().find(|line| line["level"] == "ERROR" && line["request_id"] == id).unwrap();
        assert_eq!((&line["message"], &line["model"]), (&json!(message), &json!(ID)), "{text}");
    }
}
