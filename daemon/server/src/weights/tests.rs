mod hub_server;
mod prune;

use std::cell::RefCell;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use sha2::{Digest, Sha256};
use tempfile::{TempDir, tempdir};

use self::hub_server::{COMMIT, HubServer, Refusal};
use super::*;

/// Large enough to be cut, and different at every offset.
fn weights() -> Vec<u8> {
    (0..1_500_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn gguf_hub() -> HubServer {
    HubServer::start("o/m", &[("README.md", b"#".as_slice()), ("m.gguf", &weights())])
}

fn options(server: &HubServer, home: &TempDir) -> HubOptions {
    HubOptions {
        endpoint: server.url.clone(),
        token: HubToken::None,
        retries: 3,
        retry_delay: Duration::from_millis(1),
        idle_timeout: Duration::from_secs(20),
        ..HubOptions::new(home.path())
    }
}

fn reference(model: &str) -> ModelReference {
    ModelLocation::of(model, None).into()
}

fn resolve(model: &str, options: &HubOptions) -> Result<ResolvedModel, WeightsError> {
    resolve_model(&reference(model), options, &|_| {})
}

#[test]
fn a_gguf_file_is_downloaded_once_and_found_again_offline() {
    let (server, home) = (gguf_hub(), tempdir().unwrap());
    let mut options = options(&server, &home);
    let reports = RefCell::new(Vec::new());
    let report = |progress: DownloadProgress| reports.borrow_mut().push((progress.done, progress.total));
    let resolved = resolve_model(&reference("o/m"), &options, &report).unwrap();
    assert_eq!(fs::read(&resolved.path).unwrap(), weights());
    assert_eq!(resolved.commit.as_deref(), Some(COMMIT));
    assert_eq!(reports.borrow().last(), Some(&(1_500_000, 1_500_000)));
    assert!(reports.borrow().is_sorted());

    let transfers = server.transfers();
    assert_eq!(resolve("o/m", &options).unwrap(), resolved);
    assert_eq!(server.transfers(), transfers, "nothing is transferred again");
    options.mode = HubMode::Offline;
    let requests = server.requests();
    assert_eq!(resolve("o/m", &options).unwrap(), resolved);
    assert_eq!(server.requests(), requests, "offline asks nothing");
}

#[test]
fn the_cache_has_the_layout_of_the_hubs_own_tools() {
    let (server, home) = (gguf_hub(), tempdir().unwrap());
    resolve("o/m", &options(&server, &home)).unwrap();
    let folder = home.path().join("hub/models--o--m");
    assert_eq!(fs::read_to_string(folder.join("refs/main")).unwrap(), COMMIT);
    let link = fs::read_link(folder.join("snapshots").join(COMMIT).join("m.gguf")).unwrap();
    assert_eq!(link, Path::new("../../blobs").join(sha256(&weights())));
}

#[test]
fn a_transfer_that_breaks_off_is_continued_where_it_stopped() {
    let (server, home) = (gguf_hub(), tempdir().unwrap());
    server.cut_after(&[400_000, 0, 300_000]);
    let resolved = resolve("o/m", &options(&server, &home)).unwrap();
    assert_eq!(fs::read(resolved.path).unwrap(), weights());
    let begins = server.begins();
    assert!(begins[0] == 0 && begins.len() == 4 && begins.is_sorted() && begins[3] > 0, "{begins:?}");
}

#[test]
fn a_later_run_continues_what_an_earlier_one_gave_up() {
    let (server, home) = (gguf_hub(), tempdir().unwrap());
    server.cut_after(&[500_000]);
    let mut options = options(&server, &home);
    options.retries = 0;
    assert!(matches!(resolve("o/m", &options), Err(WeightsError::Network { .. })));
    let blobs = home.path().join("hub/models--o--m/blobs");
    let kept = fs::metadata(blobs.join(format!("{}.incomplete", sha256(&weights())))).unwrap().len();
    assert!(kept > 0);
    let resolved = resolve("o/m", &options).unwrap();
    assert_eq!(fs::read(resolved.path).unwrap(), weights());
    assert_eq!(server.begins(), [0, kept]);
}

#[test]
fn a_server_without_ranges_gives_the_whole_file_again() {
    let (server, home) = (gguf_hub(), tempdir().unwrap());
    server.cut_after(&[500_000]);
    server.ignore_ranges();
    let resolved = resolve("o/m", &options(&server, &home)).unwrap();
    assert_eq!(fs::read(resolved.path).unwrap(), weights());
}

#[test]
fn a_server_that_breaks_off_without_end_is_given_up() {
    let (server, home) = (gguf_hub(), tempdir().unwrap());
    server.cut_after(&[0; 50]);
    assert!(matches!(resolve("o/m", &options(&server, &home)), Err(WeightsError::Network { .. })));
    assert_eq!(server.begins().len(), 4);
}

#[test]
fn a_file_that_its_storage_has_in_part_is_given_up() {
    let (server, home) = (gguf_hub(), tempdir().unwrap());
    server.lose(500_000);
    assert!(matches!(resolve("o/m", &options(&server, &home)), Err(WeightsError::Network { .. })));
    assert_eq!(server.begins(), [0, 1_000_000, 0, 1_000_000]);
}

#[test]
fn damaged_contents_are_not_kept() {
    let (server, home) = (gguf_hub(), tempdir().unwrap());
    let blobs = home.path().join("hub/models--o--m/blobs");
    fs::create_dir_all(&blobs).unwrap();
    let incomplete = blobs.join(format!("{}.incomplete", sha256(&weights())));
    fs::write(&incomplete, vec![7; 100_000]).unwrap();
    let error = resolve("o/m", &options(&server, &home)).unwrap_err();
    assert!(matches!(error, WeightsError::Damaged { .. }), "{error}");
    assert!(!incomplete.exists());
    assert!(resolve("o/m", &options(&server, &home)).is_ok());
}

#[test]
fn redirects_within_the_hub_and_to_its_storage_are_followed() {
    let (server, home) = (gguf_hub(), tempdir().unwrap());
    server.rename_to("O/Model");
    server.store_elsewhere();
    server.cut_after(&[500_000]);
    let resolved = resolve("o/m", &options(&server, &home)).unwrap();
    assert_eq!(fs::read(resolved.path).unwrap(), weights());
}

#[test]
fn a_sharded_directory_comes_with_all_that_its_index_names() {
    let index = br#"{"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}"#;
    let files: [(&str, &[u8]); 7] = [
        ("config.json", b"{}"),
        ("tokenizer.json", b"{}"),
        ("model.safetensors.index.json", index),
        ("model-00001-of-00002.safetensors", b"one"),
        ("model-00002-of-00002.safetensors", b"two"),
        ("pytorch_model.bin", b"no"),
        ("empty.txt", b""),
    ];
    let (server, home) = (HubServer::start("o/m", &files), tempdir().unwrap());
    let mut options = options(&server, &home);
    let path = resolve("o/m", &options).unwrap().path;
    assert_eq!(fs::read(path.join("model-00002-of-00002.safetensors")).unwrap(), b"two");
    assert!(path.join("tokenizer.json").exists() && !path.join("pytorch_model.bin").exists());

    options.mode = HubMode::Offline;
    assert!(resolve("o/m", &options).is_ok());
    fs::remove_file(path.join("model-00001-of-00002.safetensors")).unwrap();
    let message = resolve("o/m", &options).unwrap_err().to_string();
    assert!(message.starts_with("o/m (model-00001-of-00002.safetensors) is not in the cache"), "{message}");
}

#[test]
fn an_index_that_is_too_large_is_not_read() {
    let mut index = br#"{"weight_map": {"a": "model.safetensors"}}"#.to_vec();
    index.resize(33 << 20, b' ');
    let files: [(&str, &[u8]); 3] =
        [("config.json", b"{}"), ("model.safetensors.index.json", &index), ("model.safetensors", b"one")];
    let (server, home) = (HubServer::start("o/m", &files), tempdir().unwrap());
    let message = resolve("o/m", &options(&server, &home)).unwrap_err().to_string();
    assert!(message.contains("index.json is larger than 33554432 bytes"), "{message}");
}

#[test]
fn one_of_several_gguf_files_must_be_named() {
    let (server, home) = (HubServer::start("o/m", &[("a.gguf", b"A"), ("b.gguf", b"B")]), tempdir().unwrap());
    let options = options(&server, &home);
    let message = resolve("o/m", &options).unwrap_err().to_string();
    assert_eq!(message, "o/m has several GGUF files; name one by quantized_file: a.gguf, b.gguf");
    let named = ModelReference { quantized_file: Some("b.gguf".into()), ..reference("o/m") };
    assert_eq!(fs::read(resolve_model(&named, &options, &|_| {}).unwrap().path).unwrap(), b"B");
}

#[test]
fn refusals_say_what_is_wrong() {
    let (server, home) = (gguf_hub(), tempdir().unwrap());
    let mut options = options(&server, &home);
    let mut refused = |refusal, token: &str| {
        server.refuse(refusal);
        options.token = if token.is_empty() { HubToken::None } else { HubToken::Literal(token.into()) };
        resolve("o/m", &options).unwrap_err()
    };
    assert!(matches!(refused(Refusal::Token, ""), WeightsError::Unauthorised { has_token: false, .. }));
    assert!(matches!(refused(Refusal::Token, "wrong"), WeightsError::Unauthorised { has_token: true, .. }));
    let gated = refused(Refusal::Gated, "right");
    assert!(
        matches!(&gated, WeightsError::Gated { page, .. } if *page == format!("{}/o/m", server.url)),
        "{gated}"
    );
    assert!(matches!(refused(Refusal::Hidden, ""), WeightsError::NotFound { has_token: false, .. }));
    assert!(matches!(refused(Refusal::Missing, ""), WeightsError::NotFound { .. }));
    let revision = refused(Refusal::Revision, "");
    assert_eq!(revision.to_string(), "o/m has no revision \"main\"");
    assert!(matches!(refused(Refusal::Broken, ""), WeightsError::Status { status: 500, .. }));
    assert!(matches!(refused(Refusal::Nonsense, ""), WeightsError::Malformed { .. }));
}

#[test]
fn credentials_of_the_address_are_sent_and_not_told() {
    let (server, home) = (gguf_hub(), tempdir().unwrap());
    let mut options = options(&server, &home);
    options.endpoint = server.url.replace("http://", "http://bot:s3cret@");
    for refusal in [
        Refusal::Token,
        Refusal::Gated,
        Refusal::Hidden,
        Refusal::Missing,
        Refusal::Revision,
        Refusal::Broken,
        Refusal::Nonsense,
    ] {
        server.refuse(refusal);
        let error = resolve("o/m", &options).unwrap_err();
        assert!(!format!("{error:?} {error}").contains("s3cret"), "{refusal:?}");
    }
    assert!(server.tokens() > 0);
    for (address, told) in [
        ("https://bot:s3cret@mirror/hf", "https://mirror/hf"),
        ("https://bot@mirror:8443", "https://mirror:8443"),
        ("https://mirror/@team", "https://mirror/@team"),
        ("https://bot:s3/cret@mirror", "mirror"),
        ("bot:s3cret@mirror", "mirror"),
        ("nowhere", "nowhere"),
    ] {
        assert_eq!(without_credentials(address), told);
    }
    options.endpoint = "bot:s3cret@mirror".to_owned();
    assert!(!resolve("o/m", &options).unwrap_err().to_string().contains("s3cret"));
}

#[test]
fn gated_files_are_told_apart_from_gated_repositories() {
    let (server, home) = (gguf_hub(), tempdir().unwrap());
    server.gate_files();
    assert!(matches!(resolve("o/m", &options(&server, &home)), Err(WeightsError::Gated { .. })));
}

#[test]
fn the_token_is_sent_from_where_it_is_kept_and_only_to_the_hub() {
    let (server, home) = (gguf_hub(), tempdir().unwrap());
    server.refuse(Refusal::Token);
    server.store_elsewhere();
    fs::write(home.path().join("token"), "right\n").unwrap();
    let mut options = options(&server, &home);
    options.token = HubToken::Cached;
    assert!(resolve("o/m", &options).is_ok());
    server.omit_the_scheme();
    let other = tempdir().unwrap();
    fs::write(other.path().join("secret"), "right").unwrap();
    options = HubOptions {
        token: HubToken::File(other.path().join("secret")),
        home: other.path().into(),
        ..options
    };
    assert!(resolve("o/m", &options).is_ok());
    assert_eq!(server.tokens_at_storage(), 0);
    for unread in [other.path().join("nothing"), "/dev/zero".into()] {
        options.token = HubToken::File(unread);
        assert!(matches!(resolve("o/m", &options), Err(WeightsError::Token { .. })));
    }
    assert!(!format!("{:?}", HubToken::Literal("right".into())).contains("right"));
}

#[test]
fn without_a_token_none_is_sent() {
    let (server, home) = (gguf_hub(), tempdir().unwrap());
    resolve("o/m", &options(&server, &home)).unwrap();
    assert_eq!(server.tokens(), 0);
}

#[test]
fn offline_without_the_model_says_so() {
    let (server, home) = (gguf_hub(), tempdir().unwrap());
    let options = HubOptions { mode: HubMode::Offline, ..options(&server, &home) };
    let message = resolve("o/m", &options).unwrap_err().to_string();
    assert!(message.starts_with("o/m (main) is not in the cache"), "{message}");
    assert_eq!(server.requests(), 0);
}

#[test]
fn a_hub_that_is_gone_leaves_the_cached_model_in_use() {
    let (server, home) = (gguf_hub(), tempdir().unwrap());
    let options = options(&server, &home);
    let resolved = resolve("o/m", &options).unwrap();
    for refusal in [Refusal::Broken, Refusal::Nonsense] {
        server.refuse(refusal);
        assert_eq!(resolve("o/m", &options).unwrap(), resolved, "{refusal:?}");
    }
    server.refuse(Refusal::Missing);
    resolve("o/m", &options).expect_err("a model that was taken away");
    drop(server);
    assert_eq!(resolve("o/m", &options).unwrap(), resolved);
    let error = resolve("o/other", &options).unwrap_err();
    assert!(matches!(error, WeightsError::Network { .. }), "{error}");
}

#[test]
fn a_full_disk_leaves_the_commit_of_a_branch() {
    let (server, home) = (gguf_hub(), tempdir().unwrap());
    let options = options(&server, &home);
    resolve("o/m", &options).unwrap();
    server.commit(&COMMIT.replace('0', "f"), &[("m.gguf", &weights())]);
    let hub = home.path().join("hub");
    symlink("/dev/full", hub.join(".locks/models--o--m/ref.incomplete")).unwrap();
    assert!(resolve("o/m", &options).is_ok());
    assert_eq!(fs::read_to_string(hub.join("models--o--m/refs/main")).unwrap(), COMMIT);
}

#[test]
fn a_cache_that_takes_nothing_more_leaves_the_cached_model_in_use() {
    let (server, home) = (gguf_hub(), tempdir().unwrap());
    let options = options(&server, &home);
    let resolved = resolve("o/m", &options).unwrap();
    let newer: &[u8] = b"newer";
    server.commit(&COMMIT.replace('0', "f"), &[("m.gguf", newer)]);
    let (hub, incomplete) = (home.path().join("hub"), format!("{}.incomplete", sha256(newer)));
    symlink("/dev/full", hub.join("models--o--m/blobs").join(incomplete)).unwrap();
    assert_eq!(resolve("o/m", &options).unwrap(), resolved, "full");
    fs::remove_dir_all(hub.join(".locks")).unwrap();
    fs::write(hub.join(".locks"), "").unwrap();
    assert_eq!(resolve("o/m", &options).unwrap(), resolved, "not to be written");
    fs::remove_dir_all(hub.join("models--o--m")).unwrap();
    assert!(matches!(resolve("o/m", &options), Err(WeightsError::Io { .. })));
}

#[test]
fn a_revision_is_kept_apart_from_the_main_branch() {
    let (server, home) = (gguf_hub(), tempdir().unwrap());
    let mut options = options(&server, &home);
    let revision = ModelReference { revision: Some("refs/pr/1".into()), ..reference("o/m") };
    resolve_model(&revision, &options, &|_| {}).unwrap();
    options.mode = HubMode::Offline;
    assert!(resolve_model(&revision, &options, &|_| {}).is_ok());
    assert!(matches!(resolve("o/m", &options), Err(WeightsError::NotCached { .. })));
}

/// `/dev/full` refuses every byte as a full disk does.
#[test]
fn a_full_disk_is_told_from_other_failures() {
    let (server, home) = (gguf_hub(), tempdir().unwrap());
    let blobs = home.path().join("hub/models--o--m/blobs");
    fs::create_dir_all(&blobs).unwrap();
    symlink("/dev/full", blobs.join(format!("{}.incomplete", sha256(&weights())))).unwrap();
    let error = resolve("o/m", &options(&server, &home)).unwrap_err();
    assert!(matches!(error, WeightsError::DiskFull(_)), "{error}");
    assert_eq!(server.begins(), [0], "not tried again");
}

#[test]
fn names_that_leave_the_cache_are_ignored() {
    let (server, home) =
        (HubServer::start("o/m", &[("../../evil.gguf", b"x"), ("m.gguf", b"ok")]), tempdir().unwrap());
    let resolved = resolve("o/m", &options(&server, &home)).unwrap();
    assert_eq!(fs::read(resolved.path).unwrap(), b"ok");
}

#[test]
fn what_is_on_this_machine_is_not_asked_of_the_hub() {
    let home = tempdir().unwrap();
    let options = HubOptions::new(home.path().join("hf"));
    let here = |name: &str| home.path().join(name).display().to_string();
    fs::write(here("a.gguf"), "a").unwrap();
    assert_eq!(resolve(&here("a.gguf"), &options).unwrap().path, home.path().join("a.gguf"));
    assert_eq!(resolve(&here(""), &options).unwrap().path, home.path().join("a.gguf"));
    fs::write(here("b.gguf"), "b").unwrap();
    assert!(matches!(resolve(&here(""), &options), Err(WeightsError::AmbiguousFile { .. })));
    fs::write(here("config.json"), "{}").unwrap();
    fs::write(here("model.safetensors"), "").unwrap();
    assert_eq!(resolve(&here(""), &options).unwrap().path, home.path().join(""));
    let named = ModelReference { quantized_file: Some("b.gguf".into()), ..reference(&here("")) };
    assert_eq!(resolve_model(&named, &options, &|_| {}).unwrap().path, home.path().join("b.gguf"));
    let of_file = |file: &str| {
        let named = ModelReference { quantized_file: Some(file.to_owned()), ..reference(&here("a.gguf")) };
        resolve_model(&named, &options, &|_| {})
    };
    assert!(of_file("a.gguf").is_ok());
    assert!(matches!(of_file("b.gguf"), Err(WeightsError::FileNotFound { .. })));
    let revised = ModelReference { revision: Some("v2".to_owned()), ..reference(&here("a.gguf")) };
    let refused = resolve_model(&revised, &options, &|_| {});
    assert!(matches!(refused, Err(WeightsError::RevisionOfPath { .. })), "{refused:?}");
    assert!(matches!(resolve(&here("c.gguf"), &options), Err(WeightsError::LocalNotFound(_))));
    assert!(matches!(resolve("no such", &options), Err(WeightsError::InvalidId(_))));
}

#[test]
fn a_hub_id_is_not_looked_for_in_the_working_directory() {
    let home = tempdir().unwrap();
    let options = HubOptions { mode: HubMode::Offline, ..HubOptions::new(home.path()) };
    // A folder of the directory that tests work in.
    let id = ModelReference::from(ModelLocation::Hub("src/weights".into()));
    let resolved = resolve_model(&id, &options, &|_| {});
    assert!(matches!(resolved, Err(WeightsError::NotCached { .. })), "{resolved:?}");
}
