//! A server over a model whose answers anyone can tell: after `>` comes `abcdefghijklméno…z`, then the end.
//!
//! The engine is the real one; only the arithmetic is replaced. Its steps can be held back, so that a test decides
//! what has happened when a client leaves.

use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode, header};
use http_body_util::BodyExt;
use ostro_engine::info::CacheInfo;
use ostro_engine::schedule::{SchedulerOptions, StepPlan};
use ostro_engine::text::{GgufVocabulary, TextModel, TextOverrides};
use ostro_engine::{
    CacheType, DeviceInfo, Engine, EngineParts, EngineStats, ForwardError, Isa, Logits, Model, ModelInfo,
    PublishedSampling,
};
use ostro_server::models::Loaded;
use ostro_server::{ModelSource, Models, RouterBuilder, RouterOptions};
use serde_json::Value;
use tower::ServiceExt;

pub const ID: &str = "test/chain";
/// The whole answer to any conversation.
pub const ANSWER: &str = "abcdefghijklménopqrstuvwxyz";
/// Bytes of the answer and the end token.
pub const ANSWER_TOKENS: u64 = 29;
pub const CONTEXT: u32 = 2048;
const END: u32 = 256;
const VOCABULARY: u32 = 258;
const TEMPLATE: &str = "{% if mood != 'silent' %}{% for message in messages %}{% if message.content == 'raise' %}\
    {{ raise_exception('no such conversation') }}{% endif %}{{ message.role }}: {{ message.reasoning_content }}\
    {{ message.content }}\n\
    {% endfor %}{% if add_generation_prompt %}{{ mood }}>{% endif %}{% endif %}";

/// Lets the model's steps through.
#[derive(Clone, Default)]
pub struct Gate(Arc<(Mutex<u64>, Condvar)>);

impl Gate {
    pub fn open(&self) {
        self.allow(u64::MAX / 2);
    }

    pub fn allow(&self, steps: u64) {
        *self.0.0.lock().unwrap() += steps;
        self.0.1.notify_all();
    }

    fn pass(&self) {
        let mut steps = self.0.1.wait_while(self.0.0.lock().unwrap(), |steps| *steps == 0).unwrap();
        *steps -= 1;
    }
}

struct Chain {
    gate: Gate,
    logits: Vec<f32>,
}

impl Model for Chain {
    fn forward(&mut self, plan: &StepPlan) -> Result<Logits<'_>, ForwardError> {
        self.gate.pass();
        self.logits.clear();
        for sample in plan.samples() {
            let next = after(plan.rows()[sample.row as usize].token);
            self.logits
                .extend((0..VOCABULARY).map(|token| if token == next { 8.0 } else { token as f32 / 1e3 }));
        }
        Ok(Logits::new(&mut self.logits, VOCABULARY as usize))
    }
}

fn after(token: u32) -> u32 {
    let bytes = ANSWER.as_bytes();
    match bytes.iter().position(|&byte| u32::from(byte) == token) {
        Some(at) if at + 1 == bytes.len() => END,
        Some(at) => u32::from(bytes[at + 1]),
        None => u32::from(bytes[0]),
    }
}

/// Every byte is a token, `!!` is one (a vocabulary has at least one merge), and `<|end|>` ends an answer. The model has no
/// token `??`.
pub fn text() -> Arc<TextModel> {
    // GPT-2 writes bytes that do not print as characters from U+0100 on.
    let prints = |byte: u32| matches!(byte, 33..=126 | 161..=172 | 174..=255);
    let mut hidden = 256..;
    let mut spelled = |byte: u32| if prints(byte) { byte } else { hidden.next().unwrap() };
    let mut tokens: Vec<String> =
        (0..256).map(|byte| char::from_u32(spelled(byte)).unwrap().to_string()).collect();
    tokens.extend(["<|end|>", "!!", "??"].map(str::to_owned));
    let token_types = (0..=VOCABULARY).map(|id| if id == END { 3 } else { 1 }).collect();
    let vocabulary = GgufVocabulary {
        model: "gpt2".into(),
        pre: Some("gpt-2".into()),
        tokens,
        token_types,
        merges: vec!["! !".into(), "? ?".into()],
        eos: Some(END),
        chat_template: Some(TEMPLATE.into()),
        ..GgufVocabulary::default()
    };
    Arc::new(TextModel::from_gguf(&vocabulary, &TextOverrides::default()).unwrap())
}

pub fn schedule(waiting_max: usize) -> SchedulerOptions {
    SchedulerOptions {
        block_size: 16,
        blocks: 1024,
        context_len: CONTEXT,
        max_seqs: 16,
        tokens_per_step: 256,
        prompt_tokens_beside_decode: 128,
        waiting_max,
        draft_tokens: 7,
        prefix_cache_n: 16,
        sources_apart: false,
        opening: Vec::new(),
    }
}

pub fn info(schedule: &SchedulerOptions) -> ModelInfo {
    ModelInfo {
        architecture: "chain".into(),
        name: None,
        weight_type: "F32".into(),
        parameters: 0,
        layer_parameters: 0,
        layers: 1,
        hidden_size: 1,
        vocab_size: VOCABULARY,
        published_sampling: PublishedSampling::default(),
        context_len: CONTEXT,
        model_context_len: CONTEXT,
        weight_bytes: 0,
        step_weight_bytes: 0,
        cache: CacheInfo {
            cache_type: CacheType::F32,
            block_size: schedule.block_size,
            blocks: schedule.blocks,
            bytes: 0,
        },
        threads: 1,
        instruction_set: "none".into(),
        device: DeviceInfo::cpu("none"),
        nominal_bytes_per_second: None,
        load_seconds: 0.25,
    }
}

/// The engine of the chain model.
pub fn engine(gate: &Gate, schedule: SchedulerOptions) -> Engine {
    let gate = gate.clone();
    let build = move |_: &dyn Fn(_)| {
        let model = Box::new(Chain { gate, logits: Vec::new() });
        let (info, step_limit) = (info(&schedule), Duration::from_secs(60));
        Ok(EngineParts { model, text: text(), info, schedule, isa: Isa::detect(), step_limit })
    };
    Engine::start(build, &|_| ()).unwrap()
}

/// A running application.
pub struct Fixture {
    pub router: Router,
    pub engine: Engine,
    pub models: Models,
    pub gate: Gate,
}

impl Drop for Fixture {
    fn drop(&mut self) {
        // The engine's thread must be able to end.
        self.gate.open();
    }
}

impl Fixture {
    pub async fn new() -> Fixture {
        let fixture = Fixture::with(RouterOptions::default(), 1024).await;
        fixture.gate.open();
        fixture
    }

    /// With the gate closed.
    pub async fn with(options: RouterOptions, waiting_max: usize) -> Fixture {
        Fixture::scheduled(options, schedule(waiting_max)).await
    }

    /// With the gate closed too.
    pub async fn scheduled(options: RouterOptions, schedule: SchedulerOptions) -> Fixture {
        let gate = Gate::default();
        let engine = engine(&gate, schedule);
        let loaded = Loaded::from(engine.clone());
        let source = ModelSource::new(ID, move |_| Ok(loaded)).alias("chain");
        let models = Models::load(vec![source], None).unwrap();
        models.loaded().await.unwrap();
        let router = RouterBuilder::new(models.clone()).options(options).build().unwrap();
        Fixture { router, engine, models, gate }
    }

    pub async fn call(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        Answer {
            status: parts.status,
            headers: parts.headers,
            text: String::from_utf8(bytes.to_vec()).unwrap(),
        }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.call(Request::get(path).body(Body::empty()).unwrap()).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.call(post(path, body.to_string())).await
    }

    pub async fn chat(&self, fields: Value) -> Answer {
        self.post("/v1/chat/completions", &chat(fields)).await
    }

    /// Lets the model take a step now and then until something has happened.
    pub async fn step_until<T>(&self, happened: impl Future<Output = T>) -> T {
        let mut happened = std::pin::pin!(happened);
        loop {
            self.gate.allow(1);
            if let Ok(value) = tokio::time::timeout(Duration::from_millis(1), &mut happened).await {
                return value;
            }
        }
    }

    /// Waits for the engine to reach a state that it is bound to reach.
    pub async fn until(&self, reached: impl Fn(&EngineStats) -> bool) -> EngineStats {
        let began = Instant::now();
        loop {
            let stats = self.engine.stats();
            if reached(&stats) {
                return stats;
            }
            assert!(began.elapsed() < Duration::from_secs(30), "never reached: {stats:?}");
            tokio::task::yield_now().await;
        }
    }
}

pub fn post(path: &str, body: impl Into<Body>) -> Request<Body> {
    Request::post(path).header(header::CONTENT_TYPE, "application/json").body(body.into()).unwrap()
}

/// A short greedy conversation with further fields.
pub fn chat(fields: Value) -> Value {
    let mut body = serde_json::json!({"messages": [{"role": "user", "content": "Hi"}], "temperature": 0});
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    body
}

#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// The events of a stream, the last of which must be the end mark.
    pub fn events(&self) -> Vec<Value> {
        assert_eq!(self.status, StatusCode::OK, "{}", self.text);
        let mut data: Vec<&str> = self.text.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
        assert_eq!(data.pop(), Some("[DONE]"), "{}", self.text);
        data.iter().map(|data| serde_json::from_str(data).unwrap()).collect()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}
