//! Perplexity of a text beside that of an f32 computation: every token as part of a prompt, and as a generated one, from
//! the first on and after thousands of others.
//!
//! The reference's numbers are committed; compute them anew by
//! `cargo test --release -p ostro-engine --test perplexity -- --ignored update`.
#![allow(clippy::unwrap_used)]

mod models;
mod reference;

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex};

use models::{QWEN_CODER, RealModel, SMOLLM2, STORIES, read};
use ostro_engine::load::load;
use ostro_engine::request::{Generation, Sampling, StopRules, TokenId};
use ostro_engine::schedule::StepPlan;
use ostro_engine::text::Special;
use ostro_engine::{CacheSize, Engine, EngineOptions, ForwardError, Isa, Logits, Model, ScheduleOptions};
use reference::Reference;

/// The first chapters of a novel of 1813.
const TEXT: &str = include_str!("golden/novel.txt");
const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/perplexity.json");
/// Of the reference's perplexity.
const DISTANCE_MAX: f64 = 0.0005;

/// The surprise, in nats, at tokens of a text.
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
        let mut whole = plan.clone();
        whole.set_best_only(false);
        let mut logits = self.model.forward(&whole)?;
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
    /// Of its number in the golden file.
    name: &'static str,
    model: RealModel,
    /// Those that surprise, after all tokens before them: from 1 on, since nothing predicts the first.
    tokens: Range<usize>,
}

const CASES: [Case; 5] = [
    Case { name: "stories15m", model: STORIES, tokens: 1..200 },
    Case { name: "smollm2-135m-instruct", model: SMOLLM2, tokens: 1..300 },
    Case { name: "smollm2-135m-instruct after 1,024", model: SMOLLM2, tokens: 1024..1280 },
    Case { name: "smollm2-135m-instruct after 4,096", model: SMOLLM2, tokens: 4096..4352 },
    Case { name: "qwen2.5-coder-0.5b-instruct", model: QWEN_CODER, tokens: 1..120 },
];

fn engine(path: &Path, isa: Isa, teacher: Option<Teacher>) -> Engine {
    let mut options = EngineOptions::new(path);
    options.isa = Some(isa);
    options.cache.block_size = 16;
    options.cache.size = CacheSize::ContextLen(8 * 1024);
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

/// Of the last tokens of a text.
fn measured(path: &Path, isa: Isa, text: &Arc<[TokenId]>, first: usize, are_prompts: bool) -> f64 {
    let teacher = Teacher { text: text.clone(), surprises: Arc::default() };
    let engine = engine(path, isa, Some(teacher.clone()));
    if are_prompts {
        for prompt in first..text.len() {
            read(engine.submit(generation(text, prompt, 1)).unwrap());
        }
    } else {
        let answer = read(engine.submit(generation(text, first, text.len() - first)).unwrap());
        assert_eq!(answer, text[first..]);
    }
    drop(engine);
    let surprises = std::mem::take(&mut *teacher.surprises.lock().unwrap());
    assert!(surprises.keys().copied().eq(first..text.len()));
    perplexity(surprises.into_values())
}

fn check(case: &Case) {
    let Some(path) = case.model.path() else { return };
    let golden: BTreeMap<String, f64> = serde_json::from_slice(&fs::read(GOLDEN).unwrap()).unwrap();
    let expected = golden[case.name];
    let text = text_tokens(&path, case.tokens.end);
    for (isa, are_prompts) in ways() {
        let found = measured(&path, isa, &text, case.tokens.start, are_prompts);
        let distance = found / expected - 1.0;
        println!("{}, {isa}, prompts {are_prompts}: {found:.4}, {:+.4} %", case.name, 100.0 * distance);
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
fn smollm2_is_as_surprised_as_in_f32_after_a_thousand_tokens() {
    check(&CASES[2]);
}

#[test]
fn smollm2_is_as_surprised_as_in_f32_after_four_thousand_tokens() {
    check(&CASES[3]);
}

#[test]
fn qwen_coder_is_as_surprised_as_in_f32() {
    check(&CASES[4]);
}

#[test]
#[ignore = "computes the reference's perplexities anew"]
fn update() {
    let golden: BTreeMap<&str, f64> = CASES.iter().map(|case| (case.name, reference_of(case))).collect();
    fs::write(GOLDEN, serde_json::to_string_pretty(&golden).unwrap() + "\n").unwrap();
}

fn reference_of(case: &Case) -> f64 {
    let path = case.model.path().expect("all models are there");
    let text = text_tokens(&path, case.tokens.end);
    let first = case.tokens.start;
    let logits = Reference::open(&path).unwrap().forward(&text[..text.len() - 1], first - 1).unwrap();
    perplexity(logits.iter().zip(&text[first..]).map(|(logits, token)| surprise(logits, *token)))
}
