//! What holds between any two calls, checked by the simulation.

use std::collections::HashSet;

use super::Scheduler;

impl Scheduler {
    pub(in crate::schedule) fn assert_consistent(&self) {
        let pool = self.kv.pool();
        let mut references = vec![0; pool.numbers().end as usize];
        for block in self.running.iter().flat_map(|sequence| &sequence.blocks) {
            references[*block as usize] += 1;
        }
        let free = pool.free_list();
        let free_set: HashSet<_> = free.iter().collect();
        assert_eq!(free_set.len(), free.len(), "the free list holds a block once");
        assert_eq!(pool.free() as usize, free.len());
        for block in pool.numbers() {
            let owners = references[block as usize];
            assert_eq!(pool.references(block), owners, "block {block}: references are its owners");
            assert_eq!(free_set.contains(&block), owners == 0, "block {block}: free or owned");
        }
        assert!(references[..pool.numbers().start as usize].iter().all(|owners| *owners == 0));
        let cached: Vec<_> = free.iter().map(|block| pool.hash(*block).is_some()).collect();
        assert!(cached.is_sorted(), "blocks without content are reused first");
        assert_eq!(cached.iter().filter(|cached| **cached).count(), pool.cached() as usize);
        self.kv.assert_index_consistent();
        assert!(self.running.is_sorted_by_key(|sequence| sequence.id), "running sequences are in order");
        assert!(self.waiting.iter().is_sorted_by_key(|sequence| sequence.id), "waiting ones too");
        assert!(self.waiting.iter().all(|sequence| sequence.blocks.is_empty()), "waiting ones own nothing");
        assert!(
            self.waiting.iter().all(|sequence| sequence.was_admitted() || !sequence.has_own_tokens()),
            "prompts are not copied before they run"
        );
        assert!(self.running.len() <= self.running_max);
    }

    /// The oldest running and the oldest waiting sequence.
    pub(in crate::schedule) fn oldest(&self) -> [Option<super::SequenceId>; 2] {
        [self.running.first(), self.waiting.front()].map(|sequence| Some(sequence?.id))
    }
}
