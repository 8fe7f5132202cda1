use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use tempfile::{TempDir, tempdir};

use super::hub_server::COMMIT;
use crate::weights::{
    HubMode, HubOptions, ModelReference, Unneeded, What, finish_removals, resolve_model, unneeded,
};

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

    fn link(&self, path: &str, target: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(target, path).unwrap();
    }

    fn find(&self, models: &[ModelReference]) -> Vec<Unneeded> {
        let (found, failed) = unneeded(models, &self.options).unwrap();
        assert!(failed.is_empty(), "{failed:?}");
        found
    }

    /// Of what is not needed: the model, the files and their bytes.
    fn unneeded(&self, models: &[ModelReference]) -> Vec<(String, What, u64)> {
        self.find(models).into_iter().map(|one| (one.model, one.what, one.bytes)).collect()
    }

    fn remove(&self, models: &[ModelReference]) -> Vec<bool> {
        self.find(models).iter().map(|one| one.remove().unwrap()).collect()
    }

    /// What is needed can be loaded, before and after.
    fn remove_around(&self, needed: &ModelReference) -> Vec<bool> {
        let load = || resolve_model(needed, &self.options, &|_| {}).unwrap().path;
        let path = load();
        let all = |path: &PathBuf| match path.is_dir() {
            true => {
                fs::read_dir(path).unwrap().map(|entry| fs::read(entry.unwrap().path()).unwrap()).collect()
            }
            false => vec![fs::read(path).unwrap()],
        };
        let before: Vec<Vec<u8>> = all(&path);
        let removed = self.remove(std::slice::from_ref(needed));
        assert_eq!(all(&load()), before);
        removed
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
    let files = What::Files(vec!["a.gguf".to_owned(), "b.gguf".to_owned()]);
    assert_eq!(told[0], ("o/m".to_owned(), files, ("other file".len() + "before".len()) as u64));
    assert_eq!((told[1].0.as_str(), &told[1].1), ("p/x--y", &What::Model));
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

#[test]
fn nothing_outside_of_a_models_own_folder_is_removed() {
    let outside = tempdir().unwrap();
    fs::write(outside.path().join("precious"), "x").unwrap();
    let out = outside.path().to_str().unwrap();
    for part in ["models--o--m/blobs", "models--o--m/snapshots", "models--o--m"] {
        let cache = Cache::new();
        if part != "models--o--m" {
            cache.write("models--o--m/refs/main", COMMIT);
        }
        cache.link(part, out);
        for models in [vec![model("o/m", None)], vec![]] {
            cache.remove(&models);
            assert_eq!(fs::read_to_string(outside.path().join("precious")).unwrap(), "x", "{part}");
        }
    }
}

#[test]
fn what_a_needed_model_reaches_by_links_stays() {
    // A folder elsewhere whose files are links into the cache.
    let cache = Cache::new();
    cache.add("models--o--m", (COMMIT, "a.gguf", "a"), "needed");
    let elsewhere = tempdir().unwrap();
    let link = cache.path(&format!("models--o--m/snapshots/{COMMIT}/a.gguf"));
    symlink(link, elsewhere.path().join("a.gguf")).unwrap();
    assert_eq!(cache.remove_around(&model(elsewhere.path().to_str().unwrap(), None)), [true; 0]);

    // The model's folder, its contents, its revision, or a content is a link to another.
    for (link, target) in [
        ("models--p--q", "models--o--m"),
        ("models--p--q/blobs", "../models--o--m/blobs"),
        ("models--p--q/snapshots", "../models--o--m/snapshots"),
    ] {
        let cache = Cache::new();
        cache.add("models--o--m", (COMMIT, "a.gguf", "a"), "needed");
        cache.link(link, target);
        if link != "models--p--q" {
            cache.write("models--p--q/refs/main", COMMIT);
        }
        if link.ends_with("blobs") {
            let file = format!("models--p--q/snapshots/{COMMIT}/a.gguf");
            cache.link(&file, "../../blobs/a");
        }
        assert_eq!(cache.remove_around(&model("p/q", None)), [true; 0], "{link}");
    }
    for (link, target) in [
        (format!("models--o--m/snapshots/{OLD_COMMIT}"), COMMIT.to_owned()),
        (format!("models--o--m/snapshots/{OLD_COMMIT}/a.gguf"), format!("../{COMMIT}/a.gguf")),
    ] {
        let cache = Cache::new();
        cache.add("models--o--m", (COMMIT, "a.gguf", "a"), "needed");
        cache.link(&link, &target);
        let revision = Some(OLD_COMMIT.to_owned());
        assert_eq!(
            cache.remove_around(&ModelReference { revision, ..model("o/m", None) }),
            [true; 0],
            "{link}"
        );
    }
    let cache = Cache::new();
    cache.add("models--o--m", (COMMIT, "a.gguf", "b"), "needed");
    fs::rename(cache.path("models--o--m/blobs/b"), cache.path("models--o--m/blobs/c")).unwrap();
    cache.link("models--o--m/blobs/b", "c");
    assert_eq!(cache.remove_around(&model("o/m", None)), [true; 0]);
}

#[test]
fn what_is_no_model_stays_and_keeps_nothing_from_going() {
    let cache = Cache::new();
    cache.add("models--o--m", (COMMIT, "a.gguf", "a"), "needed");
    cache.write("models--o--m/snapshots/.DS_Store", "x");
    cache.write("models--o--m/blobs/z.incomplete", "half");
    cache.write("models--note.txt", "x");
    cache.write("models--/x", "x");
    cache.write(".removed--.DS_Store", "x");
    cache.link("models--e--e", "/etc/passwd");
    cache.add("models--p--q", (COMMIT, "a.gguf", "a"), "other");
    let told = cache.unneeded(&[model("o/m", None)]);
    let left = What::Files(vec!["blobs/z.incomplete".to_owned()]);
    assert_eq!(told.iter().map(|one| &one.1).collect::<Vec<_>>(), [&left, &What::Model]);
    assert_eq!(cache.remove_around(&model("o/m", None)), [true, true]);
    finish_removals(&cache.options).unwrap();
    for stays in ["models--o--m/snapshots/.DS_Store", "models--note.txt", "models--/x"] {
        assert!(cache.path(stays).exists(), "{stays}");
    }
    assert!(!cache.path(".removed--.DS_Store").exists() && !cache.path("models--p--q").exists());
}

#[test]
fn revisions_of_files_in_place_of_links_are_counted() {
    let cache = Cache::new();
    cache.add("models--o--m", (COMMIT, "a.gguf", "a"), "needed");
    cache.write(&format!("models--o--m/snapshots/{OLD_COMMIT}/a.gguf"), "before");
    let told = cache.unneeded(&[model("o/m", None)]);
    assert_eq!(told, [("o/m".to_owned(), What::Files(vec!["a.gguf".to_owned()]), 6)]);
}
