//! Which two tokens become one, the best first.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

use crate::request::TokenId;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::text) struct Merge {
    pub(in crate::text) left: TokenId,
    pub(in crate::text) right: TokenId,
    pub(in crate::text) whole: TokenId,
}

#[derive(Debug)]
pub(in crate::text) struct Merges {
    ranked: Vec<Merge>,
    /// Ranks, by the two tokens.
    ranks: HashTable<u32>,
    hasher: DefaultHashBuilder,
}

impl Merges {
    /// The last of several merges of the same two tokens counts, as in the library.
    pub(in crate::text) fn new(ranked: Vec<Merge>) -> Self {
        let hasher = DefaultHashBuilder::default();
        let mut ranks = HashTable::with_capacity(ranked.len());
        let pair = |rank: u32| (ranked[rank as usize].left, ranked[rank as usize].right);
        for rank in 0..ranked.len() as u32 {
            let hash = |rank: &u32| hasher.hash_one(pair(*rank));
            ranks
                .entry(hash(&rank), |other| pair(*other) == pair(rank), hash)
                .and_modify(|before| *before = rank)
                .or_insert(rank);
        }
        Merges { ranked, ranks, hasher }
    }

    /// Rank and result of a merge; the lowest rank comes first.
    pub(super) fn get(&self, left: TokenId, right: TokenId) -> Option<(u32, TokenId)> {
        let merge = |rank: &u32| &self.ranked[*rank as usize];
        let is_it = |rank: &u32| (merge(rank).left, merge(rank).right) == (left, right);
        let rank = self.ranks.find(self.hasher.hash_one((left, right)), is_it)?;
        Some((*rank, merge(rank).whole))
    }
}
