use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use tempfile::{TempDir, tempdir};

use super::hub_server::COMMIT;
use crate::weights::{
    HubMode, HubOptions, ModelLocation, ModelReference, Need, Pulse, Removal, Unneeded, What,
    finish_removals, resolve_model, unneeded,
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

    fn needs(&self, models: &[ModelReference]) -> Vec<Need> {
        models.iter().map(|model| Need::of(model, &self.options).unwrap()).collect()
    }

    fn find(&self, models: &[ModelReference]) -> Vec<Unneeded> {
        let (found, failed) = unneeded(&self.path(""), &self.needs(models)).unwrap();
        assert!(failed.is_empty(), "{failed:?}");
        found
    }

    /// Of what is not needed: the model, the files and their bytes.
    fn unneeded(&self, models: &[ModelReference]) -> Vec<(String, What, u64)> {
        self.find(models).into_iter().map(|one| (one.model, one.what, one.bytes)).collect()
    }

    fn remove(&self, models: &[ModelReference]) -> Vec<bool> {
        let remove = |one: &Unneeded| one.remove(|| Ok(self.needs(models)), &Pulse::start()).unwrap();
        self.find(models).iter().map(|one| matches!(remove(one), Removal::Done(_))).collect()
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
    ModelReference { quantized_file, ..ModelLocation::of(id, None).into() }
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

/// What it has may be links to what others have.
#[test]
fn what_a_model_in_part_leads_to_stays() {
    let needed = [model("a/b", None)];
    // One of its files, or its whole folder.
    for folder in [false, true] {
        let cache = Cache::new();
        cache.add("models--c--d", (COMMIT, "model.safetensors", "d"), "of another");
        match folder {
            true => cache.link("models--a--b", "models--c--d"),
            false => {
                cache.write("models--a--b/refs/main", COMMIT);
                cache.link(
                    &format!("models--a--b/snapshots/{COMMIT}/model.safetensors"),
                    &format!("../../../models--c--d/snapshots/{COMMIT}/model.safetensors"),
                );
            }
        }
        assert!(cache.unneeded(&needed).is_empty(), "{folder}");
        assert!(!cache.unneeded(&[]).is_empty(), "{folder}");
    }
    // A revision of a model that is needed too.
    let cache = Cache::new();
    cache.add("models--a--b", (COMMIT, "a.gguf", "a"), "needed");
    cache.add("models--a--b", (OLD_COMMIT, "n.safetensors", "n"), "of another");
    cache.write("models--z--z/refs/main", COMMIT);
    cache.link(
        &format!("models--z--z/snapshots/{COMMIT}/model.safetensors"),
        &format!("../../../models--a--b/snapshots/{OLD_COMMIT}/n.safetensors"),
    );
    assert_eq!(cache.remove(&[model("a/b", None), model("z/z", None)]), [true; 0]);
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
    // What is not there needs who knows what.
    assert!(Need::of(&model("/elsewhere.gguf", None), &cache.options).is_err());
}

#[test]
fn what_is_being_downloaded_stays() {
    let cache = Cache::new();
    cache.add("models--o--m", (COMMIT, "a.gguf", "a"), "x");
    for name in ["a.lock", "model.lock"] {
        cache.write(&format!(".locks/models--o--m/{name}"), "");
        let download = File::open(cache.path(&format!(".locks/models--o--m/{name}"))).unwrap();
        download.lock_shared().unwrap();
        assert_eq!(cache.remove(&[]), [false], "{name}");
        assert!(cache.path("models--o--m/blobs/a").exists());
    }
    assert_eq!(cache.remove(&[]), [true]);
    assert!(!cache.path("models--o--m").exists());
}

#[test]
fn a_removal_that_was_broken_off_is_finished() {
    let cache = Cache::new();
    cache.write(".removed--models--o--m/blobs/a", "x");
    assert!(cache.unneeded(&[]).is_empty());
    finish_removals(&cache.path("")).unwrap();
    assert!(!cache.path(".removed--models--o--m").exists());
    finish_removals(Path::new("/no/such/folder")).unwrap();
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

/// Its id is also a folder of the directory that tests work in.
#[test]
fn a_model_of_the_hub_is_kept_whatever_the_working_directory_has() {
    let cache = Cache::new();
    cache.add("models--src--weights", (COMMIT, "a.gguf", "a"), "needed");
    let needed = ModelReference::from(ModelLocation::Hub("src/weights".into()));
    assert_eq!(cache.remove_around(&needed), [true; 0]);
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
    finish_removals(&cache.path("")).unwrap();
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

/// Between the look and the removal.
#[test]
fn what_became_needed_meanwhile_stays() {
    let cache = Cache::new();
    cache.add("models--o--m", (COMMIT, "a.gguf", "a"), "after");
    cache.add("models--o--m", (OLD_COMMIT, "a.gguf", "old"), "before");
    cache.write("models--o--m/refs/main", OLD_COMMIT);
    let models = [model("o/m", None)];
    let found = cache.find(&models);
    cache.write("models--o--m/refs/main", COMMIT);
    assert!(matches!(
        found[0].remove(|| Ok(cache.needs(&models)), &Pulse::start()).unwrap(),
        Removal::Done(_)
    ));
    let path = resolve_model(&models[0], &cache.options, &|_| {}).unwrap().path;
    assert_eq!(fs::read_to_string(path).unwrap(), "after");
    assert!(matches!(
        found[0].remove(|| Ok(cache.needs(&models)), &Pulse::start()).unwrap(),
        Removal::Needed(_)
    ));
}

/// Their contents lie on another disk: what the links lead through is needed all the same.
#[test]
fn links_on_the_way_are_needed() {
    let disk = tempdir().unwrap();
    let with_contents_elsewhere = || {
        let cache = Cache::new();
        cache.add("models--o--m", (COMMIT, "a.gguf", "a"), "needed");
        let blobs = cache.path("models--o--m/blobs");
        fs::write(disk.path().join("a"), "needed").unwrap();
        fs::remove_dir_all(&blobs).unwrap();
        symlink(disk.path(), blobs).unwrap();
        cache
    };
    let file = format!("models--o--m/snapshots/{COMMIT}/a.gguf");
    let cache = with_contents_elsewhere();
    let elsewhere = tempdir().unwrap();
    symlink(cache.path(&file), elsewhere.path().join("a.gguf")).unwrap();
    assert_eq!(cache.remove_around(&model(elsewhere.path().to_str().unwrap(), None)), [true; 0]);

    let cache = with_contents_elsewhere();
    cache.link("models--p--q", "models--o--m");
    assert_eq!(cache.remove_around(&model("p/q", None)), [true; 0]);

    let cache = with_contents_elsewhere();
    cache.write("models--p--q/refs/main", COMMIT);
    cache.link(&format!("models--p--q/snapshots/{COMMIT}/a.gguf"), &format!("../../../{file}"));
    assert_eq!(cache.remove_around(&model("p/q", None)), [true; 0]);

    for (link, target) in [
        (format!("models--o--m/snapshots/{COMMIT}/b.gguf"), format!("../{OLD_COMMIT}/../../blobs/a")),
        (format!("models--o--m/snapshots/{COMMIT}/b.gguf"), format!("../{OLD_COMMIT}/sub/a")),
    ] {
        let cache = Cache::new();
        cache.add("models--o--m", (COMMIT, "a.gguf", "a"), "needed");
        cache.add("models--o--m", (OLD_COMMIT, "old.gguf", "old"), "before");
        cache.link(&format!("models--o--m/snapshots/{OLD_COMMIT}/sub"), "../../blobs");
        cache.link(&link, &target);
        cache.remove_around(&model("o/m", Some("b.gguf")));
        assert!(!cache.path("models--o--m/blobs/old").exists());
    }
}

/// Each model has what it needs in its own.
#[test]
fn caches_share_what_links_lead_to() {
    let (cache, other) = (Cache::new(), Cache::new());
    cache.add("models--o--m", (COMMIT, "a.gguf", "a"), "needed");
    other.write("models--p--q/refs/main", COMMIT);
    let content = cache.path("models--o--m/blobs/a");
    other.link(&format!("models--p--q/snapshots/{COMMIT}/a.gguf"), content.to_str().unwrap());
    let needs = || Ok(vec![Need::of(&model("p/q", None), &other.options).unwrap()]);
    for one in [&cache, &other] {
        assert!(unneeded(&one.path(""), &needs().unwrap()).unwrap().0.is_empty());
    }
    // The usual cache has it too, where nobody reads it.
    cache.add("models--p--q", (COMMIT, "a.gguf", "a"), "copy");
    let found = unneeded(&cache.path(""), &needs().unwrap()).unwrap().0;
    assert_eq!(
        found.iter().map(|one| (one.model.as_str(), &one.what)).collect::<Vec<_>>(),
        [("p/q", &What::Model)]
    );
    assert!(matches!(found[0].remove(needs, &Pulse::start()).unwrap(), Removal::Done(_)));
}
