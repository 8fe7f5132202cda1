//! The ledger without any engine: loads that fail, wait or panic.

use std::sync::mpsc;

use super::*;

fn failing(id: &str) -> ModelSource {
    ModelSource::new(id, |_| Err("no such file".into()))
}

#[test]
fn a_ledger_needs_models_with_names_of_their_own() {
    let error = |sources, default| Models::load(sources, default).unwrap_err();
    assert_eq!(error(vec![], None), LedgerError::Empty);
    assert_eq!(error(vec![failing("a"), failing("a")], None), LedgerError::Duplicate("a".into()));
    assert_eq!(error(vec![failing("a"), failing("b").alias("a")], None), LedgerError::Duplicate("a".into()));
    assert_eq!(error(vec![failing("a")], Some("b")), LedgerError::UnknownDefault("b".into()));
}

#[test]
fn a_name_means_an_id_an_alias_or_the_default() {
    let models = Models::load(vec![failing("org/a"), failing("b").alias("bee")], Some("bee")).unwrap();
    let id = |name| models.resolve(name).map(|model| model.id.to_string());
    for (name, expected) in [(None, "b"), (Some(""), "b"), (Some("default"), "b"), (Some("org/a"), "org/a")] {
        assert_eq!(id(name).unwrap(), expected);
    }
    assert_eq!(id(Some("bee")).unwrap(), "b");
    let error = id(Some("c")).unwrap_err();
    assert_eq!(error.to_string(), "the model \"c\" does not exist; available: b, org/a");
}

#[test]
fn default_means_the_default_model_whatever_others_are_called() {
    let sources = vec![failing("default"), failing("b").alias("bee"), failing("c")];
    let models = Models::load(sources, Some("bee")).unwrap();
    assert_eq!(models.resolve(Some(DEFAULT)).unwrap().id.as_ref(), "b");
    let aliased = Models::load(vec![failing("a"), failing("b").alias("default")], None).unwrap();
    assert_eq!(aliased.resolve(Some(DEFAULT)).unwrap().id.as_ref(), "a");
}

#[tokio::test]
async fn a_failed_load_shows_its_reason() {
    let models = Models::load(vec![failing("a"), ModelSource::new("b", |_| panic!("defect"))], None).unwrap();
    let a = models.resolve(Some("a")).unwrap();
    let error = a.ready(Duration::MAX).await.unwrap_err();
    assert_eq!(error.to_string(), "the model \"a\" did not load: no such file");
    assert_eq!(a.card().status, ModelStatus::Failed);
    assert_eq!(a.card().error.as_deref(), Some("no such file"));
    let b = models.resolve(Some("b")).unwrap().ready(Duration::MAX).await.unwrap_err();
    assert!(b.to_string().contains("panicked"), "{b}");
}

#[tokio::test]
async fn without_any_loaded_model_the_defaults_failure_is_told() {
    let failing = |id, reason: &'static str| ModelSource::new(id, move |_| Err(reason.into()));
    let models = Models::load(vec![failing("a", "one"), failing("b", "two")], Some("b")).unwrap();
    let error = models.any_loaded().await.unwrap_err();
    assert_eq!(error.to_string(), "the model \"b\" did not load: two");
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_a_loading_model_is_bounded_and_told() {
    let (release, released) = mpsc::channel::<()>();
    let (reported, wait_reported) = oneshot::channel();
    let source = ModelSource::new("a", move |report| {
        report(Progress { stage: "download".into(), done: 1, total: 4 });
        reported.send(()).unwrap();
        let _ = released.recv();
        Err("released".into())
    });
    let models = Models::load(vec![source], None).unwrap();
    wait_reported.await.unwrap();
    let model = models.resolve(None).unwrap();
    let card = model.card();
    assert_eq!(
        (card.status, card.progress, card.stage.as_deref()),
        (ModelStatus::Loading, Some(0.25), Some("download"))
    );
    let error = model.ready(Duration::from_secs(30)).await.unwrap_err();
    assert!(matches!(error, ApiError::Loading { .. }), "{error:?}");
    assert!(error.to_string().contains("download: 25 %"), "{error}");
    drop(release);
    assert!(matches!(model.ready(Duration::MAX).await, Err(ApiError::LoadFailed { .. })));
}
