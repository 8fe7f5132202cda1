//! The table of operations that a decoder is written against, one file a group: `impl Cpu` in each.

pub mod attention;
pub mod embed;
pub mod linear;
pub mod norm;
pub mod rotary;
pub mod scratch;

use super::ahead::Ahead;
use super::attention::scratch::AttentionScratch;
use super::digits::Activations;
use super::isa::Isa;
use super::linear::shares::Shares;
use super::pool::{Pool, ThreadError};
use linear::largest::LargestScratch;

/// A processor's threads and instruction set, with the scratch memory of the operations.
pub struct Cpu {
    pub(crate) isa: Isa,
    pub(crate) pool: Pool,
    activations: Activations,
    pub(crate) attention: AttentionScratch,
    ahead: Ahead,
    largest: LargestScratch,
    shares: Shares,
    /// Of scratch memory; `None` while it grows as it is needed.
    reserved_bytes: Option<usize>,
}

impl Cpu {
    /// `threads` counts the caller, who must be the same thread for good speed.
    ///
    /// # Panics
    /// If a thread cannot be started; [`Cpu::try_new`] returns the error.
    pub fn new(isa: Isa, threads: usize) -> Self {
        Self::try_new(isa, threads).expect("threads that compute")
    }

    pub fn try_new(isa: Isa, threads: usize) -> Result<Self, ThreadError> {
        let pool = Pool::try_new(threads)?;
        Ok(Self {
            isa,
            shares: Shares::new(pool.threads()),
            pool,
            activations: Activations::default(),
            attention: AttentionScratch::default(),
            ahead: Ahead::default(),
            largest: LargestScratch::default(),
            reserved_bytes: None,
        })
    }

    pub fn isa(&self) -> Isa {
        self.isa
    }

    pub fn threads(&self) -> usize {
        self.pool.threads()
    }

    /// For the thread that calls the operations, once it starts no other threads: see [`Pool::pin_caller`].
    pub fn pin_caller(&self) {
        self.pool.pin_caller();
    }

    /// For packing weights in parallel.
    pub fn pool_mut(&mut self) -> &mut Pool {
        &mut self.pool
    }
}
