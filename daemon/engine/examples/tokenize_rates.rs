//! How fast a model's tokenizer cuts texts of 1 MB: the best of three, in MB/s, and the tokens.
//!
//! `cargo run --release -p ostro-engine --example tokenize_rates -- MODEL.gguf`

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use ostro_engine::text::{GgufVocabulary, Special, TextModel, TextOverrides};
use ostro_engine::weights::gguf::GgufFile;

const BYTES: usize = 1_000_000;

fn main() -> Result<()> {
    let path = std::env::args().nth(1).context("which GGUF file?")?;
    let vocabulary = GgufVocabulary::read(GgufFile::open(Path::new(&path))?.metadata())?;
    let text = TextModel::from_gguf(&vocabulary, &TextOverrides::default())?;
    for (name, piece) in [
        ("words", "The quick brown fox jumps over the lazy dog. "),
        ("code", "    for (i, x) in rows.iter().enumerate() {\n        sum += x * (i as f32);\n    }\n"),
        ("digits", "3141592653589793238462643383279502884197"),
        ("one letter", "a"),
        ("spaces", " "),
        ("Chinese", "敏捷的棕色狐狸跳过了懒狗。"),
    ] {
        let sample = piece.repeat(BYTES / piece.len());
        let (mut best, mut tokens) = (f64::INFINITY, 0);
        for _ in 0..3 {
            let start = Instant::now();
            tokens = text.encode(&sample, Special::Keep)?.len();
            best = best.min(start.elapsed().as_secs_f64());
        }
        println!("{name:10} {:6.2} MB/s, {tokens} tokens", sample.len() as f64 / 1e6 / best);
    }
    Ok(())
}
