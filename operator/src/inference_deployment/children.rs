//! What exists of the operator's objects, kept current by watches on its own label.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::api::Api;
use kube::runtime::reflector::ObjectRef;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, Resource, ResourceExt};
use ostro_crds::InferenceDeployment;
use serde::de::DeserializeOwned;
use tokio::sync::OnceCell;
use tokio::sync::watch::error::RecvError;

use super::build::{ChildKind, Purpose};
use super::cached::{Cached, CachedObject, CachedPod, Kept, KeptPod, Packer, Task};
use super::kinds::ours;
use super::optional::{self, Lack, Optional};
use super::store::{Shown, Store, Writer, store};
use super::workload::Workload;
use crate::discovery::Discovery;
use crate::watch_errors::{Patience, only_changes};

/// Objects that a list reads at once, unless they are long: see `short_pages`.
pub(super) const PAGE: u32 = 25;

/// Where the operator works.
#[derive(Clone, Debug)]
pub(crate) enum Scope {
    Cluster,
    Namespace(String),
}

impl Scope {
    pub(crate) fn api<K>(&self, client: &Client) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
    {
        match self {
            Scope::Cluster => Api::all(client.clone()),
            Scope::Namespace(namespace) => Api::namespaced(client.clone(), namespace),
        }
    }

    fn of_kind(&self, client: &Client, kind: ChildKind) -> Api<Cached> {
        match self {
            Scope::Cluster => Api::all_with(client.clone(), &kind),
            Scope::Namespace(namespace) => Api::namespaced_with(client.clone(), namespace, &kind),
        }
    }
}

/// The stores; cheap to clone.
#[derive(Clone)]
pub(crate) struct Children {
    stores: BTreeMap<ChildKind, Store<Kept>>,
    optional: BTreeMap<ChildKind, Optional>,
    pods: Store<KeptPod>,
    ready: Arc<OnceCell<()>>,
    /// Asks again which APIs there are.
    ask: Arc<dyn Fn() + Send + Sync>,
}

/// Objects that changed, of one kind.
pub(crate) type Changes<K> = futures::stream::BoxStream<'static, Result<K, watcher::Error>>;

/// The stores' other halves, which must be polled.
pub(crate) struct Watches {
    pub(crate) children: Vec<(ChildKind, Changes<Cached>)>,
    pub(crate) pods: Changes<CachedPod>,
}

pub(crate) fn watch(client: &Client, scope: &Scope, discovery: &Discovery) -> (Children, Watches) {
    let mut stores = BTreeMap::new();
    let mut children = Vec::new();
    for kind in ChildKind::ALL {
        let (reader, writer) = store();
        stores.insert(kind, reader);
        let events = events(scope.of_kind(client, kind), kind.selector(), writer);
        children.push((kind, touched(events)));
    }
    let mut optional = BTreeMap::new();
    for kind in ChildKind::OPTIONAL {
        let api = scope.of_kind(client, kind);
        let (reader, changes) = optional::watch(kind, api, discovery.presence(kind), discovery.asker());
        optional.insert(kind, reader);
        children.push((kind, changes));
    }
    let (pods, writer) = store();
    let ask = Arc::new(discovery.asker());
    let watches = Watches { children, pods: touched(events(scope.api(client), ours(), writer)) };
    (Children { stores, optional, pods, ready: Arc::default(), ask }, watches)
}

/// Of the objects with these labels, kept by `writer`.
pub(super) fn events<K>(
    api: Api<K>,
    selector: String,
    mut writer: Writer<K::Kept>,
) -> impl Stream<Item = Result<watcher::Event<K>, watcher::Error>> + Send
where
    K: Shown + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let ours = watcher::Config::default().labels(&selector).page_size(PAGE);
    let mut packer = Packer::default();
    let events =
        watcher(api, ours).backoff(Patience::default()).modify(move |object| object.pack(&mut packer));
    events.inspect(move |event| match event {
        Ok(event) => writer.take(event),
        Err(_) => writer.note_error(),
    })
}

pub(super) fn touched<K: Send + 'static>(
    events: impl Stream<Item = Result<watcher::Event<K>, watcher::Error>> + Send + 'static,
) -> Changes<K> {
    let changes = events.try_filter_map(|event| std::future::ready(Ok(changed(event))));
    only_changes(changes).boxed()
}

/// What a list shows is news once all of it is read: see `Children::turns`.
fn changed<K>(event: watcher::Event<K>) -> Option<K> {
    match event {
        watcher::Event::Apply(object) | watcher::Event::Delete(object) => Some(object),
        watcher::Event::Init | watcher::Event::InitApply(_) | watcher::Event::InitDone => None,
    }
}

impl Children {
    /// A store wakes one of those that wait for it, whatever it says: here one waits, and all the others for that one.
    pub(crate) async fn wait_until_ready(&self) -> Result<(), RecvError> {
        self.ready.get_or_try_init(|| self.wait_alone()).await.copied()
    }

    /// Whether anybody has found it so.
    pub(crate) fn is_ready(&self) -> bool {
        self.ready.initialized()
    }

    /// What was not read yet, or cannot be watched for so long, by the names that rules have; optional kinds are told of
    /// by themselves.
    pub(crate) fn unread(&self, failing_for: Duration) -> impl Iterator<Item = &'static str> {
        let lacking = self.stores.iter().filter(move |(_, store)| store.is_lacking(failing_for));
        let pods = self.pods.is_lacking(failing_for).then_some("pods");
        lacking.map(|(kind, _)| kind.group_and_plural().1).chain(pods)
    }

    async fn wait_alone(&self) -> Result<(), RecvError> {
        for store in self.stores.values() {
            store.wait_until_ready().await?;
        }
        for optional in self.optional.values() {
            optional.settled().await;
        }
        self.pods.wait_until_ready().await
    }

    /// Why objects of a kind cannot be applied, if they cannot.
    pub(crate) fn lack(&self, kind: ChildKind) -> Option<Lack> {
        self.optional.get(&kind)?.lack()
    }

    /// The API server may have other APIs than it had.
    pub(crate) fn ask_for_apis(&self) {
        (self.ask)();
    }

    /// An item for each time that an optional API comes or goes, or that all objects of a kind were read anew.
    pub(crate) fn turns(&self) -> impl Stream<Item = ()> + Send + 'static + use<> {
        let optional = self.optional.values().map(|optional| optional.turns().boxed());
        let lists = self.stores.values().map(|store| store.again().boxed());
        futures::stream::select_all(optional.chain(lists).chain([self.pods.again().boxed()]))
    }

    pub(crate) fn get(&self, kind: ChildKind, namespace: &str, name: &str) -> Option<Arc<Kept>> {
        self.store(kind)?.get(namespace, name)
    }

    /// All objects that an owner has or left, with their names.
    pub(crate) fn own(&self, owner: &InferenceDeployment) -> Vec<(ChildKind, String, Arc<Kept>)> {
        let kinds = ChildKind::ALL.into_iter().chain(ChildKind::OPTIONAL);
        let stores = kinds.filter_map(|kind| Some((kind, self.store(kind)?)));
        let of_kind = |(kind, store): (ChildKind, Store<Kept>)| {
            let own = store.filter(namespace(owner), |object| object.is_own(owner));
            own.into_iter().map(move |(name, object)| (kind, name, object))
        };
        stores.flat_map(of_kind).collect()
    }

    pub(crate) fn of_kind(&self, kind: ChildKind, owner: &InferenceDeployment) -> Vec<(String, Arc<Kept>)> {
        let store = self.store(kind);
        store.map(|store| store.filter(namespace(owner), |object| object.is_of(owner))).unwrap_or_default()
    }

    /// Those that it left, where it owns none.
    pub(crate) fn own_of_kind(
        &self,
        kind: ChildKind,
        owner: &InferenceDeployment,
    ) -> Vec<(String, Arc<Kept>)> {
        let store = self.store(kind);
        let own = store.map(|store| store.filter(namespace(owner), |object| object.is_own(owner)));
        let mut own = own.unwrap_or_default();
        if own.iter().any(|(_, object)| object.is_of(owner)) {
            own.retain(|(_, object)| object.is_of(owner));
        }
        own
    }

    /// None while a cluster lacks its API.
    fn store(&self, kind: ChildKind) -> Option<Store<Kept>> {
        match self.optional.get(&kind) {
            Some(optional) => optional.store(),
            None => self.stores.get(&kind).cloned(),
        }
    }

    /// A child as its own type.
    pub(crate) fn typed<K: DeserializeOwned>(
        &self,
        kind: ChildKind,
        owner: &InferenceDeployment,
        name: &str,
    ) -> Option<K> {
        self.get(kind, namespace(owner), name)?.typed()
    }

    /// A Job that is the owner's own, and stays.
    pub(crate) fn job_of(&self, owner: &InferenceDeployment, name: &str) -> Option<Workload> {
        let job = self.get(ChildKind::Job, namespace(owner), name)?;
        if job.is_of(owner) && !job.is_going { job.typed() } else { None }
    }

    /// Of its workload.
    pub(crate) fn pods_of(&self, owner: &InferenceDeployment) -> Vec<Pod> {
        self.pods_that(owner, Task::Serve)
    }

    /// Of its Jobs.
    pub(crate) fn pods_of_job(&self, owner: &InferenceDeployment, purpose: Purpose) -> Vec<Pod> {
        self.pods_that(owner, Task::Job(purpose))
    }

    /// With what is kept of them. Of those that ended only the last: a node that refuses a pod is given a next one at
    /// once, and thousands pile up.
    fn pods_that(&self, owner: &InferenceDeployment, task: Task) -> Vec<Pod> {
        let name = owner.meta().name.as_deref();
        let is_own = |pod: &KeptPod| pod.instance() == name && pod.task() == Some(task);
        let pods = self.pods.filter(namespace(owner), is_own);
        let last_ended = pods.iter().filter_map(|(name, pod)| Some((pod.ended_at()?, name))).max();
        let is_read = |(name, pod): &&(String, Arc<KeptPod>)| {
            pod.ended_at().is_none() || last_ended.is_some_and(|(_, last)| last == name)
        };
        pods.iter().filter(is_read).map(|(_, pod)| pod.pod()).collect()
    }
}

fn namespace(owner: &InferenceDeployment) -> &str {
    owner.meta().namespace.as_deref().unwrap_or_default()
}

/// The object that a pod belongs to.
pub(crate) fn owner_of_pod(pod: &CachedPod) -> Option<ObjectRef<CachedObject>> {
    Some(ObjectRef::new(pod.instance()?).within(&pod.namespace()?))
}
