//! The stream of reconciles: which changes lead to which object.

use std::any::Any;
use std::borrow::Cow;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::stream::select;
use futures::{FutureExt, StreamExt};
use kube::runtime::controller::{Action, Config};
use kube::runtime::{Controller, WatchStreamExt, reflector, watcher};
use kube::{Resource, ResourceExt};
use ostro_crds::{InferenceDeployment, Reason};
use tracing::Instrument;
use tracing::field::Empty;

use super::cached::{CachedObject, Packer};
use super::children::{PAGE, Scope, Watches, owner_of_pod};
use super::lists::lists;
use super::status::count_pending;
use super::{Context, ReconcileError, reconcile};
use crate::discovery::Discovery;
use crate::in_words::in_words;
use crate::metrics::Objects;
use crate::readiness::PATIENCE;
use crate::watch_errors::{Patience, only_changes};

/// Reconciles at once; one object is never reconciled twice at the same time.
const CONCURRENCY: u16 = 16;
/// Changes that come together lead to one reconcile.
const DEBOUNCE: Duration = Duration::from_millis(25);

/// That reconciles have to finish: less than Kubernetes lets a pod stop in.
const STOP_LIMIT: Duration = Duration::from_secs(20);

/// Runs until `shutdown`; reconciles that run are finished, if they do in time.
pub(crate) async fn run(
    context: Arc<Context>,
    scope: &Scope,
    (watches, discovery): (Watches, Discovery),
    shutdown: impl Future<Output = ()> + Send + 'static,
) {
    let objects = scope.api::<CachedObject>(&context.client);
    let (store, writer) = reflector::store();
    let mut packer = Packer::default();
    let changes = watcher(objects, watcher::Config::default().page_size(PAGE));
    let changes = changes
        .backoff(Patience::default())
        .modify(move |object: &mut CachedObject| object.pack(&mut packer));
    // Whoever asks a store of kube's wakes those that wait for it no more.
    let (lists, listed) = lists();
    let changes = changes.reflect(writer).inspect(move |event| match event {
        Ok(watcher::Event::InitDone) => lists.note(),
        Ok(_) => {}
        Err(_) => lists.note_error(),
    });
    let shutdown = shutdown.boxed().shared();
    let mut controller = Controller::for_stream(only_changes(changes.applied_objects()), store.clone())
        .with_config(Config::default().concurrency(CONCURRENCY).debounce(DEBOUNCE))
        .graceful_shutdown_on(shutdown.clone())
        .reconcile_all_on(select(context.children.turns(), listed.again()))
        .watches_stream(watches.pods, |pod| owner_of_pod(&pod));
    for (kind, changes) in watches.children {
        controller = controller.watches_stream_with(changes, |child| child.of(), kind);
    }
    let all = store.clone();
    context.metrics.count_by(move || {
        let objects = all.state();
        let pending: Vec<Reason> = objects.iter().filter_map(|object| object.pending).collect();
        let behind = objects.iter().filter(|object| object.is_behind).count();
        Objects { all: objects.len(), templates: count_pending(&pending), behind }
    });
    let (children, own) = (context.children.clone(), listed.clone());
    context.readiness.leading(Box::new(move || {
        let own = own.is_lacking(PATIENCE).then(|| InferenceDeployment::plural(&()));
        own.into_iter().chain(children.unread(PATIENCE).map(Cow::from)).collect()
    }));
    let results = controller.run(traced, on_error, context.clone()).for_each(|_| std::future::ready(()));
    let is_wanted = |kind| store.find(|object| object.monitor == Some(kind)).is_some();
    let overdue = async {
        shutdown.await;
        // The watches are polled no more: what waits for their first lists would wait for ever.
        if listed.is_ready() && context.children.is_ready() {
            tokio::time::sleep(STOP_LIMIT).await;
            tracing::warn!("reconciles do not end in {} s; they are left", STOP_LIMIT.as_secs());
        }
    };
    tokio::select! {
        () = results => {}
        () = overdue => {}
        never = discovery.run(is_wanted) => match never {},
    }
}

async fn traced(object: Arc<CachedObject>, context: Arc<Context>) -> Result<Action, ReconcileError> {
    let id = context.metrics.next_reconcile();
    let span = tracing::info_span!(
        "reconcile",
        id,
        namespace = object.namespace().unwrap_or_default(),
        // A span has a name of its own.
        object = object.name_any(),
        generation = Empty,
        otel.status_description = Empty,
    );
    let started = Instant::now();
    context.metrics.running.inc();
    let reconcile = async {
        let owner = object.object();
        tracing::Span::current().record("generation", owner.meta().generation);
        let result = reconcile(&owner, object.unreadable.as_deref(), &context).await;
        if result.is_ok() {
            context.backoff.succeeded(&owner.uid().unwrap_or_default());
        }
        result
    };
    let reconcile = reconcile.instrument(span.clone());
    // Of one object; the process goes on with the others. What is shared is locked by those who see to poisoned locks.
    let result = AssertUnwindSafe(reconcile).catch_unwind().await;
    let result = result.unwrap_or_else(|panic| Err(ReconcileError::Panicked(panic_words(&*panic))));
    if let Err(error) = &result {
        // Which is an error, as OpenTelemetry has it.
        span.record("otel.status_description", in_words(error));
    }
    context.metrics.running.dec();
    context.metrics.reconciled(started.elapsed(), result.as_ref().err().map(ReconcileError::reason));
    result
}

fn panic_words(panic: &(dyn Any + Send)) -> String {
    let words = panic.downcast_ref::<&str>().map(|words| (*words).to_owned());
    words.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic".to_owned())
}

/// Waits longer after every failure of an object, and not as long as for the others.
fn on_error(object: Arc<CachedObject>, error: &ReconcileError, context: Arc<Context>) -> Action {
    let (name, namespace) = (object.name_any(), object.namespace().unwrap_or_default());
    tracing::warn!(namespace, object = name, "reconcile failed: {}", in_words(error));
    let uid = object.kept_uid();
    let wait = context.backoff.failed(&uid);
    // The status has yet to tell of it.
    let wait = context.pace.owed(&uid).map_or(wait, |owed| wait.min(owed));
    Action::requeue(match error {
        ReconcileError::Monitor { due, .. } => wait.min(*due),
        _ => wait,
    })
}
