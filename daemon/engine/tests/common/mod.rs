//! A model whose answers anyone can compute: the next token is a hash of all tokens before it, read back through the
//! block tables, so that a wrong block, a lost token or a half-written prefix changes the answer. Where the hash allows,
//! it walks in a circle, so that drafts are often right.
#![allow(dead_code, unreachable_pub)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use ostro_engine::info::CacheInfo;
use ostro_engine::request::{
    FinishReason, Finished, Generation, Sampling, StopRules, Token, TokenEvent, TokenId,
};
use ostro_engine::schedule::{SchedulerOptions, StepPlan};
use ostro_engine::text::{GgufVocabulary, TextModel, TextOverrides};
use ostro_engine::{
    CacheType, DeviceInfo, Engine, EngineParts, EngineStats, ForwardError, Isa, LoadError, Logits, Model,
    ModelInfo, PublishedSampling, TokenStream,
};
use ostro_kernels::cpu::pool::Pool;

pub const VOCAB: u32 = 64;
/// The fake model's end token.
pub const END: TokenId = 0;
const PATIENCE: Duration = Duration::from_secs(30);

pub fn options() -> SchedulerOptions {
    SchedulerOptions {
        block_size: 16,
        blocks: 1024,
        context_len: 512,
        max_seqs: 16,
        tokens_per_step: 64,
        prompt_tokens_beside_decode: 32,
        waiting_max: 256,
        draft_tokens: 7,
        prefix_cache_n: 16,
        sources_apart: false,
        opening: Vec::new(),
    }
}

type Before = dyn FnMut(&StepPlan) -> Result<(), ForwardError>;

pub struct Fake {
    block_size: usize,
    tokens: Vec<TokenId>,
    logits: Vec<f32>,
    pool: Pool,
    /// Called before every step.
    before: Box<Before>,
}

impl Fake {
    pub fn new(options: &SchedulerOptions) -> Self {
        Fake {
            block_size: options.block_size as usize,
            tokens: vec![u32::MAX; (options.blocks * options.block_size) as usize],
            logits: Vec::new(),
            pool: Pool::new(3),
            before: Box::new(|_| Ok(())),
        }
    }
}

impl Model for Fake {
    fn forward(&mut self, plan: &StepPlan) -> Result<Logits<'_>, ForwardError> {
        (self.before)(plan)?;
        self.logits.clear();
        let mut samples = plan.samples().iter().peekable();
        for (index, row) in plan.rows().iter().enumerate() {
            let table = plan.block_table(row.sequence as usize);
            let place = |position: usize| {
                table[position / self.block_size] as usize * self.block_size + position % self.block_size
            };
            self.tokens[place(row.position as usize)] = row.token;
            if samples.next_if(|sample| sample.row as usize == index).is_some() {
                let tokens = (0..=row.position as usize).map(|position| self.tokens[place(position)]);
                self.logits.extend(logits_after(tokens));
            }
        }
        Ok(Logits::new(&mut self.logits, VOCAB as usize).shared_by(&mut self.pool))
    }
}

fn logits_after(tokens: impl Iterator<Item = TokenId>) -> impl Iterator<Item = f32> {
    let mix = |state: u64, value: u64| (state ^ value).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29);
    let (state, last) =
        tokens.fold((7, 0), |(state, _), token| (mix(state, u64::from(token) + 1), u64::from(token)));
    let likely = (mix(state, 5) % 8 > 0).then_some(1 + (last + 1) % 5);
    (0..u64::from(VOCAB)).map(move |token| {
        let random = (mix(mix(state, token), 3) >> 40) as f32 / (1 << 22) as f32;
        random + if Some(token) == likely { 8.0 } else { 0.0 }
    })
}

/// What the fake model answers greedily to a lone prompt.
pub fn expected(prompt: &[TokenId], max_tokens: usize) -> Vec<TokenId> {
    let mut tokens = prompt.to_vec();
    while tokens.len() < prompt.len() + max_tokens {
        let logits: Vec<f32> = logits_after(tokens.iter().copied()).collect();
        let best = (0..logits.len()).rev().max_by(|a, b| logits[*a].total_cmp(&logits[*b])).unwrap();
        tokens.push(best as TokenId);
        if best as TokenId == END {
            break;
        }
    }
    tokens.split_off(prompt.len())
}

pub fn text() -> Arc<TextModel> {
    let vocabulary = GgufVocabulary {
        model: "gpt2".into(),
        pre: Some("gpt-2".into()),
        tokens: ["end", "a", "b", "ab"]
            .into_iter()
            .map(str::to_owned)
            .chain((4..VOCAB).map(|id| format!("t{id}")))
            .collect(),
        merges: vec!["a b".into()],
        token_types: (0..VOCAB).map(|id| if id == END { 3 } else { 1 }).collect(),
        eos: Some(END),
        ..GgufVocabulary::default()
    };
    Arc::new(TextModel::from_gguf(&vocabulary, &TextOverrides::default()).unwrap())
}

pub fn info(options: &SchedulerOptions) -> ModelInfo {
    ModelInfo {
        architecture: "fake".into(),
        name: None,
        weight_type: "F32".into(),
        parameters: 0,
        layer_parameters: 0,
        layers: 1,
        hidden_size: 1,
        vocab_size: VOCAB,
        published_sampling: PublishedSampling::default(),
        context_len: options.context_len,
        model_context_len: options.context_len,
        weight_bytes: 0,
        step_weight_bytes: 0,
        cache: CacheInfo {
            cache_type: CacheType::F32,
            block_size: options.block_size,
            blocks: options.blocks,
            bytes: 0,
        },
        threads: 1,
        instruction_set: "none".into(),
        device: DeviceInfo::cpu("none"),
        nominal_bytes_per_second: None,
        load_seconds: 0.0,
    }
}

pub fn parts(options: SchedulerOptions, model: impl Model + 'static) -> Result<EngineParts, LoadError> {
    Ok(EngineParts {
        model: Box::new(model),
        text: text(),
        info: info(&options),
        schedule: options,
        isa: Isa::detect(),
        step_limit: Duration::from_secs(60),
    })
}

pub fn engine(options: SchedulerOptions) -> Engine {
    engine_with(options, |_| Ok(()))
}

/// `before` is called before every step of the fake model.
pub fn engine_with(
    options: SchedulerOptions,
    before: impl FnMut(&StepPlan) -> Result<(), ForwardError> + Send + 'static,
) -> Engine {
    engine_within(Duration::from_secs(60), options, before)
}

/// Of steps that are to take no longer.
pub fn engine_within(
    step_limit: Duration,
    options: SchedulerOptions,
    before: impl FnMut(&StepPlan) -> Result<(), ForwardError> + Send + 'static,
) -> Engine {
    let build = move |_: &dyn Fn(_)| {
        let fake = Fake { before: Box::new(before), ..Fake::new(&options) };
        Ok(EngineParts { step_limit, ..parts(options, fake)? })
    };
    Engine::start(build, &|_| ()).unwrap()
}

pub fn greedy(prompt: &[TokenId], max_tokens: u32) -> Generation {
    Generation {
        prompt: prompt.into(),
        sampling: Sampling::greedy(),
        stop: StopRules { max_tokens, ..StopRules::default() },
        logprobs: None,
        cache_salt: 0,
    }
}

pub fn prompt(seed: u64, len: usize) -> Vec<TokenId> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u32
    };
    (0..len).map(|_| 1 + next() % (VOCAB - 1)).collect()
}

#[derive(Debug, Default)]
pub struct Answer {
    pub tokens: Vec<Token>,
    pub end: Option<Result<Finished, String>>,
}

impl Answer {
    pub fn ids(&self) -> Vec<TokenId> {
        self.tokens.iter().map(|token| token.id).collect()
    }

    pub fn finished(&self) -> &Finished {
        self.end.as_ref().unwrap().as_ref().unwrap()
    }

    pub fn reason(&self) -> FinishReason {
        self.finished().reason
    }

    pub fn failure(&self) -> &str {
        self.end.as_ref().unwrap().as_ref().unwrap_err()
    }
}

/// Reads a stream to its end, and checks that it has exactly one.
pub fn read(mut stream: TokenStream) -> Answer {
    let mut answer = Answer::default();
    while let Some(event) = stream.blocking_next() {
        assert!(answer.end.is_none(), "an event after the last");
        match event {
            TokenEvent::Token(token) => answer.tokens.push(token),
            TokenEvent::Finished(finished) => answer.end = Some(Ok(finished)),
            TokenEvent::Failed(reason) => answer.end = Some(Err(reason)),
        }
    }
    assert!(answer.end.is_some(), "a stream ends with an event");
    answer
}

/// Waits until the stats fulfil a condition.
pub fn wait_for(engine: &Engine, what: &str, condition: impl Fn(&EngineStats) -> bool) -> EngineStats {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let stats = engine.stats();
        if condition(&stats) {
            return stats;
        }
        assert!(Instant::now() < deadline, "not in time: {what}: {stats:?}");
        std::thread::yield_now();
    }
}
