use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use tempfile::{TempDir, tempdir};

use super::hub_server::COMMIT;
use crate::weights::{HubMode, HubOptions, ModelReference, finish_removals, resolve_model, unneeded};

const OLD_COMMIT: &str = "89abcdef0123456789abcdef0123456789abcdef";

/// A cache as downloads leave it.
struct Cache {
    home: TempDir,
    options: HubOptions,
}

impl Cache {
    fn new() -> Cache {
        let home = tempdir().unwrap();
        let options = HubOptions { mode: HubMode::Offline, ..HubOptions::new(home.path()) };
        Cache { home, options }
    }

    fn path(&self, below: &str) -> PathBuf {
        self.home.path().join("hub").join(below)
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// A file of a revision, whose content has this id.
    fn add(&self, folder: &str, (commit, file, id): (&str, &str, &str), text: &str) {
        self.write(&format!("{folder}/refs/main"), COMMIT);
        self.write(&format!("{folder}/blobs/{id}"), text);
        let link = self.path(&format!("{folder}/snapshots/{commit}/{file}"));
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        symlink(format!("../../blobs/{id}"), link).unwrap();
    }

    /// Of what is not needed: the model, the files and their bytes.
    fn unneeded(&self, models: &[ModelReference]) -> Vec<(String, Vec<String>, u64)> {
        let found = unneeded(models, &self.options).unwrap();
        found.into_iter().map(|one| (one.model, one.files, one.bytes)).collect()
    }

    fn remove(&self, models: &[ModelReference]) -> Vec<bool> {
        unneeded(models, &self.options).unwrap().iter().map(|one| one.remove().unwrap()).collect()
    }
}

fn model(id: &str, file: Option<&str>) -> ModelReference {
    let quantized_file = file.map(str::to_owned);
    ModelReference { model: id.to_owned(), quantized_file, ..ModelReference::default() }
}

#[test]
fn other_models_revisions_and_files_go_and_what_is_needed_stays() {
    let cache = Cache::new();
    cache.add("models--o--m", (COMMIT, "a.gguf", "a"), "needed");
    cache.add("models--o--m", (COMMIT, "b.gguf", "b"), "other file");
    cache.add("models--o--m", (OLD_COMMIT, "a.gguf", "old"), "before");
    cache.add("models--p--x--y", (COMMIT, "c.gguf", "c"), "other");
    cache.write("datasets--o--d/blobs/d", "of other tools");
    cache.write("version.txt", "1");
    let needed = [model("o/m", Some("a.gguf"))];

    let told = cache.unneeded(&needed);
    let files = vec!["a.gguf".to_owned(), "b.gguf".to_owned()];
    assert_eq!(told[0], ("o/m".to_owned(), files, ("other file".len() + "before".len()) as u64));
    assert_eq!((told[1].0.as_str(), &told[1].1), ("p/x--y", &Vec::new()));
    assert!(told[1].2 > 0);
    assert_eq!(cache.unneeded(&needed), told, "telling removes nothing");

    assert_eq!(cache.remove(&needed), [true, true]);
    let path = resolve_model(&needed[0], &cache.options, &|_| {}).unwrap().path;
    assert_eq!(fs::read_to_string(path).unwrap(), "needed");
    assert!(cache.unneeded(&needed).is_empty());
    for gone in ["models--p--x--y", "models--o--m/blobs/b", "models--o--m/blobs/old"] {
        assert!(!cache.path(gone).exists(), "{gone}");
    }
    assert!(!cache.path(&format!("models--o--m/snapshots/{OLD_COMMIT}")).exists());
    let names = fs::read_dir(cache.path(&format!("models--o--m/snapshots/{COMMIT}"))).unwrap();
    assert_eq!(names.count(), 1);
    assert!(cache.path("datasets--o--d/blobs/d").exists() && cache.path("version.txt").exists());
}

#[test]
fn a_model_keeps_all_while_some_of_it_is_missing() {
    let cache = Cache::new();
    cache.add("models--o--m", (COMMIT, "b.gguf", "b"), "other file");
    cache.write("models--o--m/blobs/a.incomplete", "half");
    assert!(cache.unneeded(&[model("o/m", Some("a.gguf"))]).is_empty());
    assert_eq!(cache.unneeded(&[]).len(), 1);
}

#[test]
fn a_content_that_two_revisions_have_stays() {
    let cache = Cache::new();
    cache.add("models--o--m", (OLD_COMMIT, "a.gguf", "a"), "needed");
    cache.add("models--o--m", (COMMIT, "a.gguf", "a"), "needed");
    assert_eq!(cache.remove(&[model("o/m", None)]), [true]);
    assert!(resolve_model(&model("o/m", None), &cache.options, &|_| {}).is_ok());
    assert!(!cache.path(&format!("models--o--m/snapshots/{OLD_COMMIT}")).exists());
}

#[test]
fn paths_into_the_cache_are_needed() {
    let cache = Cache::new();
    cache.add("models--o--m", (COMMIT, "a.gguf", "a"), "needed");
    let path = cache.path(&format!("models--o--m/snapshots/{COMMIT}/a.gguf"));
    assert!(cache.unneeded(&[model(path.to_str().unwrap(), None)]).is_empty());
    assert_eq!(cache.unneeded(&[model("/elsewhere.gguf", None)]).len(), 1);
}

#[test]
fn what_is_being_downloaded_stays() {
    let cache = Cache::new();
    cache.add("models--o--m", (COMMIT, "a.gguf", "a"), "x");
    cache.write(".locks/models--o--m/a.lock", "");
    let download = File::open(cache.path(".locks/models--o--m/a.lock")).unwrap();
    download.lock().unwrap();
    assert_eq!(cache.remove(&[]), [false]);
    assert!(cache.path("models--o--m/blobs/a").exists());
    drop(download);
    assert_eq!(cache.remove(&[]), [true]);
    assert!(!cache.path("models--o--m").exists());
}

#[test]
fn a_removal_that_was_broken_off_is_finished() {
    let cache = Cache::new();
    cache.write(".removed--models--o--m/blobs/a", "x");
    assert!(cache.unneeded(&[]).is_empty());
    finish_removals(&cache.options).unwrap();
    assert!(!cache.path(".removed--models--o--m").exists());
    finish_removals(&HubOptions::new("/no/such/folder")).unwrap();
}
