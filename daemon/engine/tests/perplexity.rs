//! Perplexity of a text beside that of an f32 computation: every token as part of a prompt, and as a generated one.
//!
//! The reference's numbers are committed; compute them anew by
//! `cargo test --release -p ostro-engine --test perplexity -- --ignored update`.
#![allow(clippy::unwrap_used)]

mod models;
mod reference;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use models::{QWEN_CODER, RealModel, SMOLLM2, STORIES, read};
use ostro_engine::load::load;
use ostro_engine::request::{Generation, Sampling, StopRules, TokenId};
use ostro_engine::schedule::StepPlan;
use ostro_engine::text::Special;
use ostro_engine::{CacheSize, Engine, EngineOptions, ForwardError, Isa, Logits, Model, ScheduleOptions};
use reference::Reference;

/// The opening of a novel of 1813.
const TEXT: &str = include_str!("golden/novel.txt");
const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/perplexity.json");
/// Of the reference's perplexity.
const DISTANCE_MAX: f64 = 0.0005;

/// The surprise, in nats, at every token of a text but the first.
type Surprises = BTreeMap<usize, f64>;

/// Reads each row's surprise at the text's next token, and has that token chosen.
struct Forced {
    model: Box<dyn Model>,
    by: Teacher,
}

#[derive(Clone)]
struct Teacher {
    text: Arc<[TokenId]>,
    surprises: Arc<Mutex<Surprises>>,
}

impl Model for Forced {
    fn forward(&mut self, plan: &StepPlan) -> Result<Logits<'_>, ForwardError> {
        let mut logits = self.model.forward(plan)?;
        for (index, sample) in plan.samples().iter().enumerate() {
            let next = plan.rows()[sample.row as usize].position as usize + 1;
            let row = logits.row_mut(index).unwrap();
            let token = self.by.text[next];
            self.by.surprises.lock().unwrap().insert(next, surprise(row, token));
            row.fill(0.0);
            row[token as usize] = 1.0;
        }
        Ok(logits)
    }
}

fn surprise(logits: &[f32], token: TokenId) -> f64 {
    let largest = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let sum: f64 = logits.iter().map(|logit| (f64::from(*logit) - largest).exp()).sum();
    largest + sum.ln() - f64::from(logits[token as usize])
}

fn perplexity(surprises: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = surprises.len() as f64;
    (surprises.sum::<f64>() / count).exp()
}

struct Case {
    model: RealModel,
    tokens: usize,
}

const CASES: [Case; 3] = [
    Case { model: STORIES, tokens: 200 },
    Case { model: SMOLLM2, tokens: 300 },
    Case { model: QWEN_CODER, tokens: 120 },
];

fn engine(path: &Path, isa: Isa, teacher: Option<Teacher>) -> Engine {
    let mut options = EngineOptions::new(path);
    options.isa = Some(isa);
    options.cache.block_size = 16;
    options.cache.size = CacheSize::ContextLen(1024);
    options.schedule = ScheduleOptions { prefix_cache_n: 4, ..ScheduleOptions::default() };
    let load = move |report: &dyn Fn(_)| {
        let mut parts = load(&options, report)?;
        if let Some(by) = teacher {
            parts.model = Box::new(Forced { model: parts.model, by });
        }
        Ok(parts)
    };
    Engine::start(load, &|_| ()).unwrap()
}

fn text_tokens(path: &Path, count: usize) -> Arc<[TokenId]> {
    let engine = engine(path, Isa::detect(), None);
    let tokens = engine.text().encode(TEXT, Special::Add).unwrap();
    tokens[..count].into()
}

/// The text's tokens after a prompt of its first `prompt` ones.
fn generation(text: &[TokenId], prompt: usize, max_tokens: usize) -> Generation {
    Generation {
        prompt: text[..prompt].into(),
        sampling: Sampling::greedy(),
        stop: StopRules { max_tokens: max_tokens as u32, ignore_eos: true, ..StopRules::default() },
        logprobs: None,
        cache_salt: 0,
    }
}

fn measured(path: &Path, isa: Isa, text: &Arc<[TokenId]>, are_prompts: bool) -> f64 {
    let teacher = Teacher { text: text.clone(), surprises: Arc::default() };
    let engine = engine(path, isa, Some(teacher.clone()));
    if are_prompts {
        for prompt in 1..text.len() {
            read(engine.submit(generation(text, prompt, 1)).unwrap());
        }
    } else {
        let answer = read(engine.submit(generation(text, 1, text.len() - 1)).unwrap());
        assert_eq!(answer, text[1..]);
    }
    drop(engine);
    let surprises = std::mem::take(&mut *teacher.surprises.lock().unwrap());
    assert!(surprises.keys().copied().eq(1..text.len()));
    perplexity(surprises.into_values())
}

fn check(case: &Case) {
    let Some(path) = case.model.path() else { return };
    let golden: BTreeMap<String, f64> = serde_json::from_slice(&fs::read(GOLDEN).unwrap()).unwrap();
    let expected = golden[case.model.name];
    let text = text_tokens(&path, case.tokens);
    for (isa, are_prompts) in ways() {
        let found = measured(&path, isa, &text, are_prompts);
        let distance = found / expected - 1.0;
        println!("{}, {isa}, prompts {are_prompts}: {found:.4}, {:+.4} %", case.model.name, 100.0 * distance);
        assert!(distance.abs() < DISTANCE_MAX, "{found} instead of {expected}");
    }
}

/// Prompts have an arithmetic of their own on a matrix unit, and nowhere else.
fn ways() -> Vec<(Isa, bool)> {
    let best = Isa::detect();
    let plain = Isa::supported().into_iter().rfind(|isa| !isa.has_matrix_unit()).unwrap();
    let mut ways = vec![(plain, false)];
    if best != plain {
        ways.extend([(best, true), (best, false)]);
    }
    ways
}

#[test]
fn stories15m_is_as_surprised_as_in_f32() {
    check(&CASES[0]);
}

#[test]
fn smollm2_is_as_surprised_as_in_f32() {
    check(&CASES[1]);
}

#[test]
fn qwen_coder_is_as_surprised_as_in_f32() {
    check(&CASES[2]);
}

#[test]
#[ignore = "computes the reference's perplexities anew"]
fn update() {
    let golden: BTreeMap<&str, f64> =
        CASES.iter().map(|case| (case.model.name, reference_of(case))).collect();
    fs::write(GOLDEN, serde_json::to_string_pretty(&golden).unwrap() + "\n").unwrap();
}

fn reference_of(case: &Case) -> f64 {
    let path = case.model.path().expect("all models are there");
    let text = text_tokens(&path, case.tokens);
    let logits = Reference::open(&path).unwrap().forward(&text[..text.len() - 1], 0).unwrap();
    perplexity(logits.iter().zip(&text[1..]).map(|(logits, token)| surprise(logits, *token)))
}
