//! Which steps guess, and how much.

use super::Scheduler;

impl Scheduler {
    /// Lets sequences guess what follows, where a step has one known token of each: it decodes, or ends prompts. The more
    /// of them share the read of the weights, the more a row costs beside it, and the surer a guess must be. Guesses take
    /// no blocks that tokens need soon.
    pub(super) fn draft(&mut self) {
        let running = self.running.len();
        let rows = self.options.tokens_per_step.min(1 + self.options.draft_tokens);
        let most = rows.checked_div(running).map_or(0, |rows| rows.saturating_sub(1));
        let is_one_each = || self.running.iter().all(|sequence| sequence.remaining() == 1);
        if most > 0 && is_one_each() && self.kv.pool().free() as usize >= 2 * running {
            self.running.iter_mut().for_each(|sequence| sequence.draft(most, running));
        }
    }
}
