//! Tokenisers against golden tokenisations: llama.cpp's vocabulary files, whose expected ids come
//! from the models' own Hugging Face tokenisers.
//!
//! Read from `models/vocabularies` in Ostro's cache folder, where `ostro-e2e model fetch vocabularies` puts them; skipped
//! where they are not there.

mod models;

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use anyhow::{Result, ensure};
use ostro_engine::text::{Detokenizer, GgufVocabulary, Special, SpecialTokens, TextModel, TextOverrides};
use ostro_engine::weights::gguf::GgufFile;

const SEPARATOR: &str = "\n__ggml_vocab_test__\n";

fn folder() -> Option<PathBuf> {
    models::cached("vocabularies")
}

fn load(path: &Path) -> Result<TextModel> {
    let file = GgufFile::open(path)?;
    let vocabulary = GgufVocabulary::read(file.metadata())?;
    Ok(TextModel::from_gguf(&vocabulary, &TextOverrides::default())?)
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        files.push(entry?.path());
    }
    files.retain(|path| path.extension().is_some_and(|extension| extension == "gguf"));
    files.sort();
    ensure!(!files.is_empty(), "{} has no .gguf files", folder.display());
    Ok(files)
}

/// The texts beside a vocabulary and their expected tokens, where it has them.
fn goldens(path: &Path) -> Result<Vec<(String, Vec<u32>)>> {
    let beside = |ending: &str| std::fs::read_to_string(format!("{}.{ending}", path.display()));
    let (Ok(texts), Ok(tokens)) = (beside("inp"), beside("out")) else { return Ok(Vec::new()) };
    let texts: Vec<&str> = texts.strip_suffix(SEPARATOR).unwrap_or(&texts).split(SEPARATOR).collect();
    let tokens: Vec<&str> = tokens.lines().collect();
    ensure!(texts.len() == tokens.len(), "{} texts, {} tokenisations", texts.len(), tokens.len());
    let ids = |line: &str| line.split_whitespace().map(str::parse).collect::<Result<Vec<u32>, _>>();
    texts.iter().zip(tokens).map(|(text, line)| Ok(((*text).to_owned(), ids(line)?))).collect()
}

/// Runs `check` on every vocabulary file and reports all failures together.
fn for_each_file(check: impl Fn(&Path) -> Result<()>) -> Result<()> {
    let Some(folder) = folder() else { return Ok(()) };
    let failed = |path: &PathBuf| check(path).err().map(|error| format!("{}: {error:#}", path.display()));
    let failures: Vec<String> = files(&folder)?.iter().filter_map(failed).collect();
    ensure!(failures.is_empty(), "{}", failures.join("\n"));
    Ok(())
}

#[test]
fn golden_tokenisations_are_reproduced() -> Result<()> {
    let compared = Cell::new(0);
    for_each_file(|path| {
        let goldens = goldens(path)?;
        if goldens.is_empty() {
            return Ok(());
        }
        compared.set(compared.get() + 1);
        let model = load(path)?;
        for (text, expected) in goldens {
            let ids = model.encode(&text, Special::Keep)?;
            ensure!(ids == expected, "{text:?}: {ids:?}, expected {expected:?}");
        }
        Ok(())
    })?;
    ensure!(compared.get() > 0 || folder().is_none(), "no vocabulary has goldens beside it");
    Ok(())
}

#[test]
fn decoding_gives_the_text_back_in_one_go_and_token_by_token() -> Result<()> {
    for_each_file(|path| {
        // WordPiece forgets case and spaces.
        let goldens = goldens(path)?;
        if goldens.is_empty() || path.ends_with("ggml-vocab-bert-bge.gguf") {
            return Ok(());
        }
        let model = Arc::new(load(path)?);
        for (text, ids) in goldens {
            let decoded = model.decode(&ids, SpecialTokens::Show);
            ensure!(decoded == text, "{decoded:?}, expected {text:?}");
            let mut stream = Detokenizer::new(model.clone(), SpecialTokens::Show);
            let mut streamed: String = ids.iter().map(|id| stream.push(*id)).collect();
            streamed.push_str(&stream.finish());
            // A stream continues a prompt, so it keeps a first space.
            ensure!(streamed.ends_with(&decoded) && streamed.len() <= decoded.len() + 1, "{streamed:?}");
        }
        Ok(())
    })
}

#[test]
fn files_without_goldens_load_or_are_refused_by_name() -> Result<()> {
    for_each_file(|path| match load(path) {
        Ok(model) => {
            ensure!(!model.encode("Hello world 123", Special::Add)?.is_empty());
            Ok(())
        }
        Err(error) => {
            let message = format!("{error:#}");
            ensure!(message.contains("\"t5\" is not supported"), "{message}");
            Ok(())
        }
    })
}

#[test]
fn special_tokens_in_a_text_count_and_others_are_added_when_asked() -> Result<()> {
    let Some(folder) = folder() else { return Ok(()) };
    let model = load(&folder.join("ggml-vocab-qwen2.gguf"))?;
    let text = "<|im_start|>user\n";
    assert_eq!(model.encode(text, Special::Keep)?, [151644, 872, 198]);
    assert_eq!(model.decode(&[151644, 872, 198], SpecialTokens::Skip), "user\n");
    assert_eq!(model.eos_ids(), [151643, 151645]);

    let model = load(&folder.join("ggml-vocab-llama-spm.gguf"))?;
    assert_eq!(model.encode("Hello", Special::Add)?, [1, 15043]);
    assert_eq!(model.encode("Hello", Special::Keep)?, [15043]);
    let model = load(&folder.join("ggml-vocab-bert-bge.gguf"))?;
    assert_eq!(model.encode("Hello world", Special::Add)?, [101, 7592, 2088, 102]);
    Ok(())
}

/// By the tests above, where nothing was fetched.
#[test]
fn what_is_missing_is_told_though_tests_pass() -> Result<()> {
    let empty = tempfile::tempdir()?;
    // An empty variable is as good as none.
    for (cache, folder) in [(empty.path(), "ostro"), (Path::new(""), ".cache/ostro")] {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["--exact", "golden_tokenisations_are_reproduced"]).env("XDG_CACHE_HOME", cache);
        let ended = command.env("HOME", empty.path()).env_remove("RUST_TEST_NOCAPTURE").output()?;
        let told = String::from_utf8_lossy(&ended.stderr).into_owned();
        let path = empty.path().join(folder).join("models/vocabularies");
        let missing = format!("skipped: {} is not there", path.display());
        ensure!(ended.status.success() && told.contains(&missing), "{told}");
    }
    Ok(())
}
