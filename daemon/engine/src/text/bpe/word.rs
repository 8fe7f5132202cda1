//! A text while its tokens are merged.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::{Merges, Piece};
use crate::request::TokenId;

/// Before the first and after the last symbol.
const NONE: usize = usize::MAX;

#[derive(Debug)]
pub(super) struct Word {
    symbols: Vec<Symbol>,
}

#[derive(Clone, Copy, Debug)]
struct Symbol {
    token: TokenId,
    /// 0 once it is a part of the symbol before.
    bytes: usize,
    before: usize,
    after: usize,
}

/// A merge that was possible once: its rank, where its left token is, and its result.
type Chance = Reverse<(u32, usize, TokenId)>;

impl Word {
    pub(super) fn with_capacity(symbols: usize) -> Self {
        Word { symbols: Vec::with_capacity(symbols) }
    }

    pub(super) fn extend(&mut self, pieces: impl IntoIterator<Item = Piece>) {
        for (token, bytes) in pieces {
            let at = self.symbols.len();
            if let Some(last) = self.symbols.last_mut() {
                last.after = at;
            }
            self.symbols.push(Symbol {
                token,
                bytes,
                before: at.checked_sub(1).unwrap_or(NONE),
                after: NONE,
            });
        }
    }

    /// Does the best merge, the leftmost of equal ones, until none is left.
    pub(super) fn merge(&mut self, merges: &Merges) {
        let all = (0..self.symbols.len()).filter_map(|at| self.chance(at, merges));
        let mut chances: BinaryHeap<Chance> = all.collect();
        while let Some(Reverse((_, at, whole))) = chances.pop() {
            // Others were merged in the meantime.
            if self.symbols[at].bytes == 0
                || self.chance(at, merges).is_none_or(|Reverse(now)| now.2 != whole)
            {
                continue;
            }
            self.join(at, whole);
            let before = self.symbols[at].before;
            chances.extend([before, at].into_iter().filter_map(|at| self.chance(at, merges)));
        }
    }

    /// The merge of the symbol at `at` and the one after it.
    fn chance(&self, at: usize, merges: &Merges) -> Option<Chance> {
        let left = self.symbols.get(at)?;
        let right = self.symbols.get(left.after)?;
        let (rank, whole) = merges.get(left.token, right.token)?;
        Some(Reverse((rank, at, whole)))
    }

    fn join(&mut self, at: usize, whole: TokenId) {
        let gone = self.symbols[at].after;
        let right = self.symbols[gone];
        self.symbols[gone].bytes = 0;
        let left = &mut self.symbols[at];
        left.token = whole;
        left.bytes += right.bytes;
        left.after = right.after;
        if let Some(next) = self.symbols.get_mut(right.after) {
            next.before = at;
        }
    }

    pub(super) fn pieces(&self) -> impl Iterator<Item = Piece> {
        self.symbols.iter().filter(|symbol| symbol.bytes != 0).map(|symbol| (symbol.token, symbol.bytes))
    }
}
