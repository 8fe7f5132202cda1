//! The same bits whatever surrounds a sequence: every logit row of a lone run comes out again in a batch of 16, after
//! prefix hits, after preemption, with drafts, with other chunks, blocks, threads and instruction sets (those with a
//! matrix unit among themselves).
#![allow(clippy::unwrap_used)]

mod models;
mod recorded;

use std::collections::BTreeMap;
use std::path::Path;

use models::{QWEN_CODER, RealModel, SMOLLM2, STORIES};
use ostro_engine::request::TokenId;
use ostro_engine::text::{GgufVocabulary, TextModel, TextOverrides};
use ostro_engine::tiny::{TinyFamily, TinyHead, TinyModel};
use ostro_engine::weights::WeightType;
use ostro_engine::weights::gguf::GgufFile;
use ostro_engine::{Isa, ScheduleOptions};
use recorded::{Rows, Run, Setting, answers, chunks, crowd, lone, run};

/// Tokens of the prompt whose rows are compared at depth.
const DEPTH: usize = 4205;

/// 16 prompts of 1 to `longest` tokens; half of them begin alike.
fn prompts(longest: usize, vocab_size: u32) -> Vec<Vec<TokenId>> {
    (0..16)
        .map(|i| {
            let length = 1 + (longest - 1) * (i * i * i) / 3375;
            let seed = |index: usize| if i % 2 == 0 && index < 96 { 0 } else { i };
            (0..length).map(|index| token(seed(index), index, vocab_size)).collect()
        })
        .collect()
}

fn token(seed: usize, index: usize, vocab_size: u32) -> TokenId {
    let mixed = ((seed * 7919 + index + 1) as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    ((mixed >> 33) % u64::from(vocab_size)) as TokenId
}

/// 15 short prompts after one over many parts of the attention, extents of the cache and steps. It comes first, so that
/// the others are beside its generated tokens.
fn deep_prompts(vocab_size: u32) -> Vec<Vec<TokenId>> {
    let mut prompts = prompts(60, vocab_size);
    prompts[0] = (0..DEPTH).map(|index| token(16, index, vocab_size)).collect();
    prompts
}

/// The lone run on the best instruction set, or on the best without a matrix unit.
fn expected(path: &Path, prompts: &[Vec<TokenId>], has_matrix_unit: bool) -> Run {
    let like = |isa: &Isa| isa.has_matrix_unit() == has_matrix_unit;
    let isa = Isa::supported().into_iter().rfind(like).expect("asked for what a setting has");
    let run = run(path, &Setting { isa, ..lone() }, &[prompts]);
    assert_eq!(run.rows.len(), prompts.len() * 24);
    run
}

fn assert_same(name: &str, found: &Run, expected: &Run) {
    assert_same_rows(name, &found.rows, expected);
    assert_eq!(found.answers, expected.answers, "{name}");
}

fn assert_same_rows(name: &str, found: &Rows, expected: &Run) {
    for (place, row) in &expected.rows {
        let found = found.get(place).map(|row| row.hash);
        assert_eq!(found, Some(row.hash), "{name}: sequence and position {place:?}");
    }
}

/// Runs each setting and compares every row with the lone run's.
fn check(path: &Path, prompts: &[Vec<TokenId>], settings: &[(&str, Setting)]) -> Vec<Run> {
    let mut known: BTreeMap<bool, Run> = BTreeMap::new();
    let mut runs = Vec::new();
    for (name, setting) in settings {
        let has_unit = setting.isa.has_matrix_unit();
        let expected = known.entry(has_unit).or_insert_with(|| expected(path, prompts, has_unit));
        let is_sharing = setting.schedule.prefix_cache_n > 0;
        let rounds = [prompts, prompts];
        let found = run(path, setting, if is_sharing { &rounds } else { &rounds[..1] });
        assert_same(name, &found, expected);
        if is_sharing {
            assert_same_rows(name, &found.first, expected);
            assert!(found.stats.prefix_hits_total > 0, "{name}: {:?}", found.stats);
        }
        if setting.cache_tokens < 16 * 1024 {
            assert!(found.stats.preemptions_total > 0, "{name}: {:?}", found.stats);
        }
        runs.push(found);
    }
    runs
}

fn drafting(setting: Setting) -> Setting {
    let schedule = ScheduleOptions { sequences_max: 2, prompt_lookup_n: Some(11), ..setting.schedule };
    Setting { schedule, ..setting }
}

/// Texts that repeat themselves, answered greedily, so that drafts are often right, and end in the middle of a
/// repetition, so that some are not, as the number of wrong ones tells.
fn check_drafts(path: &Path, vocab_size: u32, sets: &[Isa]) -> u64 {
    let mut wrong = 0;
    let repeated = |prompt: &Vec<_>| [&prompt.repeat(5), &prompt[..prompt.len().div_ceil(2)]].concat();
    let prompts: Vec<_> = prompts(30, vocab_size).iter().step_by(3).map(repeated).collect();
    for &isa in sets {
        let lone = Setting { isa, temperature: 0.0, ..lone() };
        let expected = run(path, &lone, &[&prompts]);
        for setting in [drafting(lone), drafting(Setting { threads: 2, ..sharing(lone) })] {
            let found = run(path, &setting, &[&prompts]);
            assert_same(&format!("drafts, {isa}"), &found, &expected);
            let stats = &found.stats;
            assert!(stats.accepted_tokens_total > 0, "{stats:?}");
            assert!(answers(path, &setting, &prompts) == expected.answers, "drafts, {isa}");
            wrong += stats.draft_tokens_total - stats.accepted_tokens_total;
        }
    }
    wrong
}

/// Greedy answers are the same where no more of the logits is computed than where the largest are.
fn check_greedy(path: &Path, prompts: &[Vec<TokenId>], sets: &[Isa]) {
    for &isa in sets {
        let greedy = Setting { isa, temperature: 0.0, ..crowd() };
        let expected = run(path, &greedy, &[prompts]).answers;
        for setting in [greedy, Setting { threads: 3, ..greedy }, drafting(greedy)] {
            assert!(answers(path, &setting, prompts) == expected, "{isa}, {setting:?}");
        }
    }
}

fn sharing(setting: Setting) -> Setting {
    Setting { schedule: ScheduleOptions { prefix_cache_n: 64, ..setting.schedule }, ..setting }
}

/// `longest`: of the prompts; the model's context may be short.
fn check_real(model: RealModel, vocab_size: u32, longest: usize) {
    let Some(path) = model.path() else { return };
    let mut settings = vec![
        ("batch of 16", crowd()),
        ("prefix hits", sharing(crowd())),
        ("preemption", Setting { cache_tokens: 512, ..crowd() }),
        ("chunks of 37", chunks(37)),
    ];
    let avx2 = Isa::from_name("avx2").ok().filter(|&avx2| avx2 != Isa::detect());
    settings.extend(avx2.map(|isa| ("AVX2", Setting { isa, ..crowd() })));
    check(&path, &prompts(longest, vocab_size), &settings);
    assert!(check_drafts(&path, vocab_size, &[Isa::detect()]) > 0);
    check_greedy(&path, &prompts(longest, vocab_size), &[Isa::detect()]);
}

#[test]
fn smollm2_rows_keep_their_bits() {
    check_real(SMOLLM2, 49_152, 300);
}

#[test]
fn qwen_coder_rows_keep_their_bits() {
    check_real(QWEN_CODER, 151_646, 300);
}

#[test]
fn stories15m_rows_keep_their_bits() {
    check_real(STORIES, 32_000, 230);
}

/// Turn after turn of conversations with the prefix cache, against their last turns alone.
fn check_conversations(path: &Path, isa: Isa) {
    let turn = |of: &[Vec<TokenId>], answers: &[Vec<TokenId>]| -> Vec<Vec<TokenId>> {
        let joined =
            of.iter().zip(answers).map(|(prompt, answer)| [prompt, &answer[..], &[5, 6, 7]].concat());
        joined.collect()
    };
    let setting = Setting { isa, ..crowd() };
    let first = prompts(150, 300);
    let second = turn(&first, &run(path, &setting, &[&first]).answers);
    let third = turn(&second, &run(path, &setting, &[&second]).answers);
    let expected = run(path, &setting, &[&third]);
    let found = run(path, &sharing(setting), &[&first, &second, &third]);
    assert_same(&format!("conversations, {isa}"), &found, &expected);
    assert!(found.stats.prefix_hits_total > 0, "{:?}", found.stats);
}

/// Conversations that have no more in common than the chat template's start, after one that has computed it.
fn check_starts(path: &Path, isa: Isa) {
    let file = GgufFile::open(path).unwrap();
    let vocabulary = GgufVocabulary::read(file.metadata()).unwrap();
    let opening = TextModel::from_gguf(&vocabulary, &TextOverrides::default()).unwrap().opening();
    let after = |tails: &[Vec<TokenId>]| -> Vec<Vec<TokenId>> {
        let tails = (10..).zip(tails);
        tails.map(|(first, tail)| [&opening, &[first][..], tail].concat()).collect()
    };
    let tails = prompts(100, 300);
    let (first, others) = (after(&[vec![9; 40]]), after(&tails));
    for block_size in [16, 32, 64] {
        let setting = Setting { isa, block_size, ..crowd() };
        let expected = run(path, &setting, &[&others]);
        let found = run(path, &sharing(setting), &[&first, &others]);
        assert_same(&format!("starts, {isa}, blocks of {block_size}"), &found, &expected);
        assert!(!opening.is_empty() && !opening.len().is_multiple_of(16), "{opening:?}");
        assert_eq!(found.stats.prefix_hits_total, (tails.len() * opening.len()) as u64, "{opening:?}");
    }
}

fn check_tiny(model: &TinyModel) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.gguf");
    model.write_gguf(&path).unwrap();
    let preempting = Setting { cache_tokens: 512, ..crowd() };
    let mut settings = vec![
        ("prefix hits", sharing(crowd())),
        ("preemption", preempting),
        ("preemption and prefix hits", sharing(Setting { cache_tokens: 512, ..crowd() })),
        ("chunks of 17", chunks(17)),
        ("chunks of 37, sharing", sharing(chunks(37))),
        ("blocks of 16", Setting { block_size: 16, ..crowd() }),
        ("blocks of 64", Setting { block_size: 64, ..crowd() }),
    ];
    for isa in Isa::supported() {
        for threads in [1, 2, 3] {
            settings.push((isa.name(), Setting { isa, threads, ..crowd() }));
        }
    }
    check(&path, &prompts(300, 300), &settings);
    Isa::supported().into_iter().for_each(|isa| check_conversations(&path, isa));
    Isa::supported().into_iter().for_each(|isa| check_starts(&path, isa));
    check_drafts(&path, 300, &Isa::supported());
    check_greedy(&path, &prompts(40, 300), &Isa::supported());
}

#[test]
fn tiny_llama_rows_keep_their_bits() {
    check_tiny(&TinyModel::new(TinyFamily::Llama).weight_type(WeightType::Q4_1).head(TinyHead::Tied));
}

#[test]
fn tiny_qwen2_rows_keep_their_bits() {
    check_tiny(&TinyModel::new(TinyFamily::Qwen2).weight_type(WeightType::Q8_0));
}

#[test]
fn tiny_qwen3_rows_keep_their_bits() {
    check_tiny(&TinyModel::new(TinyFamily::Qwen3));
}

/// The rows of a long prompt's answer, and those of short ones beside it.
fn check_at_depth(path: &Path, vocab_size: u32, settings: &[(&str, Setting)]) {
    let runs = check(path, &deep_prompts(vocab_size), settings);
    for (run, (name, setting)) in runs.iter().zip(settings) {
        let most = run.rows.range((0, 0)..(1, 0)).map(|(_, row)| row.together).max();
        // With little room in the cache fewer, and none where short ones end before the long prompt is read.
        let least = match (setting.schedule.tokens_per_step, setting.cache_tokens < 16 * 1024) {
            (Some(_), _) => 1,
            (None, true) => 4,
            (None, false) => 9,
        };
        assert!(most >= Some(least), "{name}: {most:?} rows in a step with a deep one");
        let hits = run.stats.prefix_hits_total;
        assert!(setting.schedule.prefix_cache_n == 0 || hits > 4096, "{name}: {hits} tokens found");
    }
}

#[test]
fn tiny_llama_rows_keep_their_bits_at_depth() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.gguf");
    let model = TinyModel::new(TinyFamily::Llama).weight_type(WeightType::Q4_1);
    model.context_length(2 * DEPTH).write_gguf(&path).unwrap();
    let mut settings = vec![
        ("prefix hits at depth", sharing(crowd())),
        // Beside the long prompt, a block for each of about ten short ones.
        ("preemption at depth", Setting { block_size: 16, cache_tokens: 4416, ..crowd() }),
        ("chunks of 37 at depth", chunks(37)),
    ];
    settings.extend(Isa::supported().into_iter().map(|isa| (isa.name(), Setting { isa, ..crowd() })));
    check_at_depth(&path, 300, &settings);
}
