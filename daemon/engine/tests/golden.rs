//! Greedy answers of real models equal those of an f32 computation on the dequantised weights.
//!
//! The golden answers in `golden/*.json` are computed by `reference`; update them with
//! `cargo test --release -p ostro-engine --test golden -- --ignored update`, or by `--exact update_long` those to
//! prompts of thousands of tokens alone, which reach over many parts of the attention, extents of the cache and steps.
#![allow(clippy::unwrap_used)]

mod models;
mod reference;

use std::fs;
use std::path::{Path, PathBuf};

use models::{QWEN_CODER, RealModel, SMOLLM2, STORIES, read};
use ostro_engine::request::{Generation, Sampling, StopRules, TokenId};
use ostro_engine::text::{Special, SpecialTokens};
use ostro_engine::{CacheSize, Engine, EngineOptions, ScheduleOptions};
use reference::{Reference, best};
use serde::{Deserialize, Serialize};

const MAX_TOKENS: usize = 48;
/// The first chapters of a novel of 1813.
const NOVEL: &str = include_str!("golden/novel.txt");
/// The file of SmolLM2's answers to long prompts.
const SMOLLM2_LONG: &str = "smollm2-135m-instruct-long";

#[derive(Debug, Deserialize, Serialize)]
struct Golden {
    origin: String,
    answers: Vec<GoldenAnswer>,
}

#[derive(Debug, Deserialize, Serialize)]
struct GoldenAnswer {
    text: String,
    prompt: Vec<TokenId>,
    answer: Vec<TokenId>,
    /// The smallest distance between the two largest logits on the way.
    margin: f32,
}

fn golden_path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(format!("{name}.json"))
}

fn read_golden(name: &str) -> Golden {
    serde_json::from_slice(&fs::read(golden_path(name)).unwrap()).unwrap()
}

fn engine(path: &Path, sequences_max: usize) -> Engine {
    let mut options = EngineOptions::new(path);
    options.cache.size = CacheSize::ContextLen(16 * 1024);
    options.cache.block_size = 16;
    options.schedule = ScheduleOptions { sequences_max, prefix_cache_n: 64, ..ScheduleOptions::default() };
    Engine::load(options, &|_| ()).unwrap()
}

fn greedy(prompt: &[TokenId]) -> Generation {
    Generation {
        prompt: prompt.into(),
        sampling: Sampling::greedy(),
        stop: StopRules { max_tokens: MAX_TOKENS as u32, ..StopRules::default() },
        logprobs: None,
        cache_salt: 0,
    }
}

fn check_answers(model: RealModel) {
    let golden = read_golden(model.name);
    assert!(golden.answers.len() >= 20);
    check_each(model, &golden);
}

/// All prompts one after another, then all at once (prompts are found in the prefix cache then).
fn check_each(model: RealModel, golden: &Golden) {
    let Some(path) = model.path() else { return };
    let engine = engine(&path, 16);
    for answer in &golden.answers {
        assert_eq!(read(engine.submit(greedy(&answer.prompt)).unwrap()), answer.answer, "{}", answer.text);
    }
    let streams: Vec<_> =
        golden.answers.iter().map(|answer| engine.submit(greedy(&answer.prompt)).unwrap()).collect();
    for (answer, stream) in golden.answers.iter().zip(streams) {
        assert_eq!(read(stream), answer.answer, "{}", answer.text);
    }
    assert!(engine.stats().prefix_hits_total > 0);
}

/// The reference itself, teacher-forced: the committed answers are what it computes today.
fn check_golden(model: RealModel, name: &str, answers: usize) {
    let Some(path) = model.path() else { return };
    let reference = Reference::open(&path).unwrap();
    for golden in read_golden(name).answers.iter().take(answers) {
        let tokens = [&golden.prompt[..], &golden.answer[..golden.answer.len() - 1]].concat();
        let logits = reference.forward(&tokens, golden.prompt.len() - 1).unwrap();
        let ids: Vec<TokenId> = logits.iter().map(|logits| best(logits).0).collect();
        assert_eq!(ids, golden.answer, "{}", golden.text);
    }
}

#[test]
fn stories15m_answers_as_in_f32() {
    check_answers(STORIES);
}

#[test]
fn smollm2_answers_as_in_f32() {
    check_answers(SMOLLM2);
}

#[test]
fn long_prompts_are_answered_by_smollm2_as_in_f32() {
    let golden = read_golden(SMOLLM2_LONG);
    let lengths: Vec<usize> = golden.answers.iter().map(|answer| answer.prompt.len()).collect();
    assert!(lengths.iter().any(|length| (1024..2048).contains(length)), "{lengths:?}");
    assert!(lengths.iter().any(|length| *length > 4096), "{lengths:?}");
    check_each(SMOLLM2, &golden);
}

#[test]
fn qwen_coder_answers_as_in_f32() {
    check_answers(QWEN_CODER);
}

#[test]
fn stories15m_golden_answers_are_those_of_the_reference() {
    check_golden(STORIES, STORIES.name, 5);
}

#[test]
fn smollm2_golden_answers_are_those_of_the_reference() {
    check_golden(SMOLLM2, SMOLLM2.name, 3);
}

/// The shortest of them.
#[test]
fn a_long_golden_answer_is_that_of_the_reference() {
    check_golden(SMOLLM2, SMOLLM2_LONG, 1);
}

#[test]
fn qwen_coder_golden_answers_are_those_of_the_reference() {
    check_golden(QWEN_CODER, QWEN_CODER.name, 1);
}

/// Ids seen with an independent numpy computation.
#[test]
fn golden_answers_begin_as_known() {
    let known: [(RealModel, &[TokenId], &[TokenId]); 2] = [
        (
            STORIES,
            &[1, 9038, 2501, 263, 931],
            &[29892, 727, 471, 263, 2217, 7826, 4257, 365, 2354, 29889, 2296, 18012],
        ),
        (QWEN_CODER, &[750, 75698, 1445, 1648], &[198, 262, 421, 308, 2651, 220, 15, 510]),
    ];
    for (model, prompt, answer) in known {
        let golden = read_golden(model.name);
        let found = golden.answers.iter().find(|golden| golden.prompt == prompt).unwrap();
        assert_eq!(&found.answer[..answer.len()], answer);
    }
    let smollm2 = read_golden(SMOLLM2.name);
    let paris =
        smollm2.answers.iter().find(|golden| golden.answer == [504, 3575, 282, 4649, 314, 7042, 30, 2]);
    assert!(paris.is_some_and(|golden| golden.text.contains("What is the capital of France?")));
}

#[test]
#[ignore = "computes the golden answers anew, in minutes"]
fn update() {
    for (model, prompts) in [(STORIES, stories()), (SMOLLM2, chats(&QUESTIONS)), (QWEN_CODER, code())] {
        write_golden(model, model.name, prompts);
    }
}

#[test]
#[ignore = "computes the golden answers to long prompts anew, in minutes"]
fn update_long() {
    write_golden(SMOLLM2, SMOLLM2_LONG, long_chats());
}

fn write_golden(model: RealModel, name: &str, prompts: Vec<String>) {
    let Some(path) = model.path() else { return };
    let engine = engine(&path, 16);
    let text = engine.text().clone();
    let reference = Reference::open(&path).unwrap();
    let answers = prompts.into_iter().map(|prompt| {
        let ids = text.encode(&prompt, Special::Add).unwrap();
        let draft = read(engine.submit(greedy(&ids)).unwrap());
        let (answer, margin) = reference.answer(&ids, &draft, MAX_TOKENS, text.eos_ids()).unwrap();
        assert!(margin > 1e-3, "a tie: choose another prompt than {prompt:?}");
        println!("{name} {margin:.4} {:?}", text.decode(&answer, SpecialTokens::Show));
        GoldenAnswer { text: prompt, prompt: ids, answer, margin }
    });
    let origin = "computed by tests/reference (f32 on dequantised weights), see tests/golden.rs".to_owned();
    let golden = Golden { origin, answers: answers.collect() };
    fs::write(golden_path(name), serde_json::to_string(&golden).unwrap() + "\n").unwrap();
}

const QUESTIONS: [&str; 20] = [
    "What is the capital of France?",
    "Name three primary colours.",
    "Explain photosynthesis in one sentence.",
    "Write a haiku about the sea.",
    "How many days are in a leap year?",
    "Translate \"good morning\" into Spanish.",
    "Who wrote Romeo and Juliet?",
    "What is 17 plus 25?",
    "List the planets of the solar system.",
    "Why is the sky blue?",
    "Give me a recipe for pancakes.",
    "What does HTTP stand for?",
    "Describe a sunset to a blind person.",
    "What is the largest ocean on Earth?",
    "Tell me a short joke about computers.",
    "How does a bicycle stay upright?",
    "Summarise the plot of Cinderella.",
    "What is the boiling point of water in Fahrenheit?",
    "Write a Python function that reverses a string.",
    "What are the benefits of regular exercise?",
];

fn chat(question: &str) -> String {
    format!("<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n")
}

fn chats(questions: &[&str]) -> Vec<String> {
    let mut prompts: Vec<String> = questions.iter().map(|question| chat(question)).collect();
    // Longer than a part of the attention, than a chunk of a prompt, and than many blocks.
    let passage = "The lighthouse keeper counted the ships that passed the reef each night. ".repeat(40);
    prompts.push(chat(&format!("{passage}How many ships passed?")));
    prompts
}

/// A chapter, then all: about 1,100 and 4,400 tokens. The last two begin alike.
fn long_chats() -> Vec<String> {
    let chapter = NOVEL.split("\n\nCHAPTER ").nth(1).unwrap();
    let questions = [
        (chapter, "What did Mr. Bennet do in this chapter?"),
        (NOVEL, "Who danced with Jane at the ball?"),
        (NOVEL, "Summarise these chapters."),
    ];
    let prompts = questions.map(|(passage, question)| chat(&format!("{}\n\n{question}", passage.trim_end())));
    prompts.into()
}

fn stories() -> Vec<String> {
    let names = ["Tom", "Lily", "Ben", "Sue", "Max"];
    let starts = ["Once upon a time", "One day, a", "The little dog", "In the park there was"];
    let mut prompts: Vec<String> = starts.iter().map(|start| (*start).to_owned()).collect();
    prompts.extend(names.iter().map(|name| format!("{name} had a red ball. He liked to")));
    prompts.extend(names.iter().map(|name| format!("{name} and the big bird went to the")));
    prompts.extend(names.iter().map(|name| format!("\"Look, mom!\" said {name}. \"I found a")));
    prompts.push(format!("{} Then", "The cat sat on the mat and the dog ran to the tree. ".repeat(12)));
    prompts
}

fn code() -> Vec<String> {
    let starts = [
        "def fibonacci(n):",
        "fn main() {",
        "SELECT name, COUNT(*) FROM",
        "import numpy as np\n\ndef softmax(x):",
        "#include <stdio.h>\n\nint main",
        "class Stack:\n    def __init__(self):",
        "// Returns the greatest common divisor\nfunction gcd(a, b) {",
        "package main\n\nimport \"fmt\"\n\nfunc",
    ];
    let mut prompts: Vec<String> = starts.iter().map(|start| (*start).to_owned()).collect();
    prompts.extend(chats(&QUESTIONS[7..]));
    prompts
}
