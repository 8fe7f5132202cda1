//! What the models of a process may still take of memory that is mapped and was never touched: the system counts it as
//! available until a long context comes.
//!
//! Pure: who loads a model gives the numbers. A GPU's memory is taken at once, and needs no ledger.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Memory, MemoryOwner};

/// Of all models of a process, which are loaded one after the other. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct MemoryLedger {
    accounts: Arc<Mutex<Accounts>>,
}

#[derive(Debug, Default)]
struct Accounts {
    /// To all models that are there.
    promised_bytes: u64,
    /// Of the process, before the first of them was loaded.
    resident_before: Option<u64>,
}

/// What a model may take. Given back when it is dropped, after the model.
#[derive(Debug)]
pub struct Promise {
    ledger: MemoryLedger,
    bytes: u64,
}

impl MemoryLedger {
    /// `memory` as it is read, without what models were promised and have not touched.
    pub fn left(&self, memory: Memory) -> Memory {
        let Accounts { promised_bytes, resident_before } = *self.lock();
        let grown =
            memory.resident_bytes.zip(resident_before).map(|(now, before)| now.saturating_sub(before));
        let untouched = grown.map_or(0, |grown| promised_bytes.saturating_sub(grown));
        let left = |bytes: u64| bytes.saturating_sub(untouched);
        Memory { available_bytes: memory.available_bytes.map(left), ..memory }
    }

    /// Of `memory` as it was before the model's first byte.
    pub fn promise(&self, memory: &Memory, bytes: u64) -> Promise {
        let bytes = match memory.owner {
            MemoryOwner::Shared => bytes,
            MemoryOwner::Models => 0,
        };
        let mut accounts = self.lock();
        if accounts.promised_bytes == 0 {
            accounts.resident_before = memory.resident_bytes;
        }
        accounts.promised_bytes = accounts.promised_bytes.saturating_add(bytes);
        Promise { ledger: self.clone(), bytes }
    }

    fn lock(&self) -> MutexGuard<'_, Accounts> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        let mut accounts = self.ledger.lock();
        accounts.promised_bytes = accounts.promised_bytes.saturating_sub(self.bytes);
    }
}
