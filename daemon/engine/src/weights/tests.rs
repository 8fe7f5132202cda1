//! Which paths are models.

use std::fs;

use super::*;
use crate::tiny::{TinyFamily, TinyModel};

fn check_refused(path: &Path, expected: &str) {
    let error = ModelFiles::open(path).expect_err("refused");
    let sources = std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source());
    let message = sources.map(ToString::to_string).collect::<Vec<_>>().join(": ");
    assert!(message.contains(expected), "{message}");
}

#[test]
fn a_file_a_directory_and_a_directory_of_one_file_open() {
    let folder = tempfile::tempdir().unwrap();
    let (directory, holder) = (folder.path().join("directory"), folder.path().join("holder"));
    let model = TinyModel::new(TinyFamily::Llama);
    fs::create_dir(&holder).unwrap();
    model.write_gguf(&holder.join("tiny.gguf")).unwrap();
    model.write_directory(&directory).unwrap();
    assert!(matches!(ModelFiles::open(&holder.join("tiny.gguf")), Ok(ModelFiles::Gguf(_))));
    assert!(matches!(ModelFiles::open(&holder), Ok(ModelFiles::Gguf(_))));
    assert!(matches!(ModelFiles::open(&directory), Ok(ModelFiles::Safetensors(_))));
    // As in repositories that give the original's settings along.
    fs::copy(directory.join("config.json"), holder.join("config.json")).unwrap();
    assert!(matches!(ModelFiles::open(&holder), Ok(ModelFiles::Gguf(_))));
    fs::copy(holder.join("tiny.gguf"), directory.join("tiny.gguf")).unwrap();
    assert!(matches!(ModelFiles::open(&directory), Ok(ModelFiles::Safetensors(_))));
    fs::copy(holder.join("tiny.gguf"), holder.join("other.gguf")).unwrap();
    check_refused(&holder, "holds 2 .gguf files");
}

#[test]
fn other_paths_are_refused_with_what_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    check_refused(folder.path(), "holds neither config.json nor a .gguf file");
    check_refused(&folder.path().join("absent"), "No such file");
    let lone = folder.path().join("model.safetensors");
    fs::write(&lone, b"").unwrap();
    check_refused(&lone, "name the directory that also holds config.json");
    let empty = folder.path().join("empty.gguf");
    fs::write(&empty, b"").unwrap();
    check_refused(&empty, "is empty");
    check_refused(Path::new("/dev/zero"), "not a regular file");
}

#[test]
fn a_huge_settings_file_is_refused_before_reading() {
    let folder = tempfile::tempdir().unwrap();
    let config = fs::File::create(folder.path().join("config.json")).unwrap();
    config.set_len(1 << 40).unwrap();
    check_refused(folder.path(), "has 1099511627776 bytes, at most 4194304");
}
