//! How the threads of a product share it.

use std::ops::Range;

use crate::cpu::linear::multiply::{ROW_BLOCK, TILE_ROWS};
use crate::cpu::pool::Team;

/// From this many rows on it costs less to meet at a barrier than to prepare all of them on every thread.
pub(super) const SHARED_ROWS: usize = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// Each thread prepares all rows for itself, and multiplies them with its panels.
    Copies,
    /// Each prepares some rows, all meet, and each multiplies all rows with its panels.
    Shared,
    /// Each prepares some rows and multiplies these with all panels: it reads no activations but those that it wrote.
    Apart,
}

/// What is a thread's.
pub(super) struct Part {
    pub(super) prepares: Range<usize>,
    /// Where the first of all rows is among the prepared ones.
    pub(super) first: usize,
    pub(super) multiplies: Range<usize>,
    /// Which of how many shares of the panels.
    pub(super) share: (usize, usize),
}

impl Cut {
    /// For rows in blocks, and wide ones.
    pub(super) fn of(rows: usize, wide: usize, threads: usize) -> Self {
        let blocks = |rows: usize| rows.div_ceil(ROW_BLOCK);
        // Each block streams and unpacks panels: no more of them than otherwise.
        let is_no_more = threads * blocks(rows.div_ceil(threads)) <= blocks(rows);
        if wide == 0 && rows / threads >= ROW_BLOCK && is_no_more {
            Self::Apart
        } else if wide > 0 || rows >= SHARED_ROWS {
            Self::Shared
        } else {
            Self::Copies
        }
    }

    /// Rows in blocks that are prepared.
    pub(super) fn prepared(self, rows: usize, threads: usize) -> usize {
        if self == Self::Copies { rows * threads } else { rows }
    }

    pub(super) fn part(self, team: Team<'_>, rows: usize) -> Part {
        let (all, share) = (0..rows, (team.id, team.threads));
        match self {
            Self::Copies => Part { prepares: all.clone(), first: team.id * rows, multiplies: all, share },
            Self::Shared => Part { prepares: team.share(rows), first: 0, multiplies: all, share },
            Self::Apart => {
                let Range { start, end } = team.share(rows.div_ceil(TILE_ROWS));
                let mine = start * TILE_ROWS..rows.min(end * TILE_ROWS);
                Part { prepares: mine.clone(), first: 0, multiplies: mine, share: (0, 1) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_apart_where_no_panel_is_streamed_more_often() {
        for (rows, wide, threads, cut) in [
            (3, 0, 2, Cut::Copies),
            (3, 1, 2, Cut::Shared),
            (4, 0, 2, Cut::Shared),
            (300, 0, 1, Cut::Apart),
            (511, 0, 2, Cut::Shared),
            (512, 0, 2, Cut::Apart),
            (512, 1, 2, Cut::Shared),
            (514, 0, 2, Cut::Shared),
            (1022, 0, 2, Cut::Apart),
            (2100, 0, 8, Cut::Shared),
        ] {
            assert_eq!(Cut::of(rows, wide, threads), cut, "{rows} rows and {wide} by {threads} threads");
        }
    }
}
