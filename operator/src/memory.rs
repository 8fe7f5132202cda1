//! What is remembered for some time, by object: what is old is taken out now and then, as objects go without a word.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

#[derive(Debug)]
pub(crate) struct Memory<K, V> {
    entries: Mutex<Entries<K, V>>,
}

#[derive(Debug)]
pub(crate) struct Entries<K, V> {
    pub(crate) all: HashMap<K, V>,
    /// Old ones are looked for then.
    sweep_at: Option<Instant>,
}

impl<K, V> Default for Memory<K, V> {
    fn default() -> Self {
        Memory { entries: Mutex::new(Entries { all: HashMap::new(), sweep_at: None }) }
    }
}

impl<K, V> Memory<K, V> {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Entries<K, V>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Eq + Hash, V> Entries<K, V> {
    /// Takes out what is not kept, once in this time.
    pub(crate) fn sweep(&mut self, every: Duration, is_kept: impl Fn(&V) -> bool) {
        let now = Instant::now();
        if self.sweep_at.is_none_or(|sweep_at| sweep_at <= now) {
            self.all.retain(|_, one| is_kept(one));
            self.sweep_at = Some(now + every);
        }
    }
}
