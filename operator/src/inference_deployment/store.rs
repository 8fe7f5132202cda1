//! What a watch has shown last of each object of a kind, by namespace and name. In place of kube's stores, whose keys and
//! metadata take more memory than what is read of most objects. Its writer belongs to the watch; reconciles read.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use futures::Stream;
use kube::Resource;
use kube::runtime::watcher::Event;
use tokio::sync::watch::error::RecvError;

use super::cached::Packer;
use super::lists::{Listed, Lists, lists};

/// An object that a watch shows, of which less is kept.
pub(crate) trait Shown: Resource {
    type Kept: Send + Sync + 'static;

    /// Before it is kept.
    fn pack(&mut self, packer: &mut Packer);

    fn kept(&self) -> Arc<Self::Kept>;
}

/// By `namespace/name`.
type Objects<T> = BTreeMap<Box<str>, Arc<T>>;

/// The reading half; clones share it.
pub(crate) struct Store<T> {
    objects: Arc<RwLock<Objects<T>>>,
    listed: Listed,
}

pub(crate) struct Writer<T> {
    objects: Arc<RwLock<Objects<T>>>,
    /// While the watch reads everything anew.
    listed: Objects<T>,
    lists: Lists,
}

pub(crate) fn store<T>() -> (Store<T>, Writer<T>) {
    let objects = Arc::<RwLock<Objects<T>>>::default();
    let (lists, listed) = lists();
    (Store { objects: objects.clone(), listed }, Writer { objects, listed: BTreeMap::new(), lists })
}

impl<T> Clone for Store<T> {
    fn clone(&self) -> Self {
        Store { objects: self.objects.clone(), listed: self.listed.clone() }
    }
}

impl<T> Store<T> {
    /// Until all objects were read once.
    ///
    /// # Errors
    /// The watch has ended before.
    pub(crate) async fn wait_until_ready(&self) -> Result<(), RecvError> {
        self.listed.wait_until_ready().await
    }

    /// Not all objects were read yet, or the watch fails for so long.
    pub(crate) fn is_lacking(&self, failing_for: Duration) -> bool {
        self.listed.is_lacking(failing_for)
    }

    /// An item for each time that the watch has read everything anew.
    pub(crate) fn again(&self) -> impl Stream<Item = ()> + Send + 'static + use<T> {
        self.listed.again()
    }

    pub(crate) fn get(&self, namespace: &str, name: &str) -> Option<Arc<T>> {
        self.read().get(&*key(namespace, name)).cloned()
    }

    /// Those of a namespace that are wanted, with their names.
    pub(crate) fn filter(&self, namespace: &str, is_wanted: impl Fn(&T) -> bool) -> Vec<(String, Arc<T>)> {
        let prefix = key(namespace, "");
        let objects = self.read();
        let objects = objects.range(prefix.clone()..).map_while(|(key, object)| {
            let name = key.strip_prefix(&*prefix)?;
            Some((name, object))
        });
        let wanted = objects.filter(|(_, object)| is_wanted(object));
        wanted.map(|(name, object)| (name.to_owned(), object.clone())).collect()
    }

    fn read(&self) -> RwLockReadGuard<'_, Objects<T>> {
        self.objects.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Writer<T> {
    pub(crate) fn note_error(&self) {
        self.lists.note_error();
    }

    pub(crate) fn take<K: Shown<Kept = T>>(&mut self, event: &Event<K>) {
        match event {
            Event::Init => self.listed = BTreeMap::new(),
            Event::InitApply(object) => {
                self.listed.insert(key_of(object), object.kept());
            }
            Event::InitDone => {
                let listed = std::mem::take(&mut self.listed);
                *self.write() = listed;
                self.lists.note();
            }
            Event::Apply(object) => {
                self.write().insert(key_of(object), object.kept());
            }
            Event::Delete(object) => {
                self.write().remove(&key_of(object));
            }
        }
    }

    fn write(&self) -> RwLockWriteGuard<'_, Objects<T>> {
        self.objects.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(namespace: &str, name: &str) -> Box<str> {
    format!("{namespace}/{name}").into()
}

fn key_of(object: &impl Resource) -> Box<str> {
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    key(&text(&object.meta().namespace), &text(&object.meta().name))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::core::ObjectMeta;

    use super::*;

    impl Shown for ConfigMap {
        type Kept = bool;

        fn pack(&mut self, _: &mut Packer) {}

        fn kept(&self) -> Arc<bool> {
            Arc::new(self.immutable == Some(true))
        }
    }

    fn object(namespace: &str, name: &str, immutable: bool) -> ConfigMap {
        let (name, namespace) = (Some(name.to_owned()), Some(namespace.to_owned()));
        let metadata = ObjectMeta { name, namespace, ..ObjectMeta::default() };
        ConfigMap { metadata, immutable: Some(immutable), ..ConfigMap::default() }
    }

    fn names(store: &Store<bool>, namespace: &str) -> Vec<String> {
        store.filter(namespace, |_| true).into_iter().map(|(name, _)| name).collect()
    }

    #[tokio::test]
    async fn a_list_replaces_all_at_its_end() {
        let (store, mut writer) = store();
        writer.take(&Event::<ConfigMap>::Init);
        writer.take(&Event::InitApply(object("n", "a", false)));
        assert_eq!(names(&store, "n"), [""; 0]);
        writer.take(&Event::<ConfigMap>::InitDone);
        store.wait_until_ready().await.unwrap();
        writer.take(&Event::Apply(object("n", "b", false)));
        assert_eq!(names(&store, "n"), ["a", "b"]);
        // Cut short, and begun anew.
        for name in ["c", "d"] {
            writer.take(&Event::<ConfigMap>::Init);
            writer.take(&Event::InitApply(object("n", name, false)));
            assert_eq!(names(&store, "n"), ["a", "b"]);
        }
        writer.take(&Event::<ConfigMap>::InitDone);
        assert_eq!(names(&store, "n"), ["d"]);
        writer.take(&Event::Delete(object("n", "d", false)));
        assert_eq!(store.get("n", "d"), None);
    }

    #[tokio::test]
    async fn waiting_ends_with_the_watch() {
        let (store, writer) = store::<bool>();
        drop(writer);
        store.wait_until_ready().await.unwrap_err();
    }

    #[test]
    fn namespaces_are_apart() {
        let (store, mut writer) = store();
        for (namespace, name) in [("n", "a"), ("n-1", "a"), ("n0", "b"), ("n", "c"), ("m", "a")] {
            writer.take(&Event::Apply(object(namespace, name, name == "c")));
        }
        assert_eq!(
            (names(&store, "n"), names(&store, "n0")),
            (vec!["a".into(), "c".into()], vec!["b".into()])
        );
        assert_eq!(store.filter("n", |is_immutable| *is_immutable).len(), 1);
        assert_eq!(store.get("n", "c").as_deref(), Some(&true));
    }
}
