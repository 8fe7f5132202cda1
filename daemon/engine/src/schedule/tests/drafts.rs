//! Steps with draft tokens.

use super::*;
use crate::request::TokenId;
use crate::schedule::TokenSource;

fn drafting() -> SchedulerOptions {
    SchedulerOptions { draft_tokens: 3, ..OPTIONS }
}

/// Repeats itself, so that 3, 4 is guessed after 0, 1, 2.
const PROMPT: [TokenId; 9] = [0, 1, 2, 3, 4, 5, 0, 1, 2];

impl Run {
    fn tokens_of(&self, id: SequenceId) -> Vec<TokenId> {
        let rows = self.plan.rows().iter();
        rows.filter(|row| self.plan.sequences()[row.sequence as usize].id == id)
            .map(|row| row.token)
            .collect()
    }

    /// A step whose samples are these, as far as drafts were right.
    fn step_sampling(&mut self, tokens: &[TokenId]) {
        self.scheduler.plan(&mut self.plan);
        assert_eq!(tokens.len(), self.plan.samples().len());
        let mut sampled: Vec<Option<TokenId>> = Vec::new();
        for token in tokens {
            let before = sampled.last().copied().flatten();
            sampled.push(self.plan.is_wanted(sampled.len(), before).then_some(*token));
        }
        self.scheduler.advance(&self.plan, &sampled, &mut self.outcomes);
    }

    fn sampled(&self) -> Vec<TokenId> {
        self.outcomes.iter().map(|outcome| outcome.token).collect()
    }
}

#[test]
fn what_followed_a_repetition_is_guessed_for_less_than_its_length() {
    let mut run = Run::new(SchedulerOptions { draft_tokens: 7, ..OPTIONS });
    let id = run.submit(PROMPT, 9);
    run.step_sampling(&[3]);
    assert_eq!(run.tokens_of(id), PROMPT, "no guess beside many known tokens");
    // The repetition has four tokens by now.
    run.step_sampling(&[4, 5, 0, 50]);
    assert_eq!(run.tokens_of(id), [3, 4, 5, 0]);
    assert_eq!(run.sampled(), [4, 5, 0, 50]);
    run.step_sampling(&[51]);
    assert_eq!(run.tokens_of(id), [50], "nothing like it before");
    let stats = run.scheduler.stats();
    assert_eq!((stats.draft_tokens_total, stats.accepted_tokens_total), (3, 3));
}

#[test]
fn nothing_counts_behind_a_wrong_guess() {
    let mut run = Run::new(drafting());
    let id = run.submit(PROMPT, 9);
    run.step_sampling(&[3]);
    // The second guess is wrong; what its row and the next one's tell is of another text.
    run.step_sampling(&[4, 60, 0, 1]);
    assert_eq!(run.sampled(), [4, 60]);
    run.step_sampling(&[61]);
    assert_eq!((run.tokens_of(id), run.plan.rows()[0].position), (vec![60], 11));
    assert_eq!(run.scheduler.stats().accepted_tokens_total, 1);
}

#[test]
fn history_of_a_sample_ends_with_the_token_of_its_row() {
    let mut run = Run::new(drafting());
    run.submit(PROMPT, 9);
    run.step_sampling(&[3]);
    run.scheduler.plan(&mut run.plan);
    for sample in run.plan.samples() {
        let history = run.scheduler.history(sample.sequence, sample.drafts).unwrap();
        assert_eq!(history.tokens().last(), Some(&run.plan.rows()[sample.row as usize].token));
        assert_eq!(history.generated().len(), 1 + sample.drafts as usize);
    }
}

#[test]
fn guesses_end_with_the_answer() {
    let mut run = Run::new(drafting());
    let id = run.submit(PROMPT, 4);
    run.step_sampling(&[3]);
    // Three tokens are left, two of them guessed.
    run.step_sampling(&[4, 5, 0]);
    assert_eq!(run.tokens_of(id), [3, 4, 5]);
    assert_eq!(run.outcomes[2].finish.unwrap().completion_tokens, 4);
    assert!(run.scheduler.is_idle());
}

#[test]
fn an_end_token_is_not_guessed() {
    let mut run = Run::new(drafting());
    let id = run.submit([0, 1, 2, 3, 7, 5, 0, 1, 2], 9);
    run.step_sampling(&[3]);
    run.step_sampling(&[7]);
    assert_eq!(run.tokens_of(id), [3]);
    assert!(run.scheduler.is_idle());
}

#[test]
fn guesses_share_their_rows_and_stand_back_for_prompts() {
    let mut run = Run::new(SchedulerOptions { tokens_per_step: 32, ..drafting() });
    let ids = [0, 100].map(|first| run.submit(PROMPT.map(|token| token + first), 9));
    run.step_sampling(&[3, 103]);
    run.step_sampling(&[4, 5, 104, 105]);
    assert_eq!(ids.map(|id| run.rows_of(id)), [2, 2]);
    run.submit(200..260, 1);
    run.step_sampling(&[0, 100]);
    assert_eq!(ids.map(|id| run.rows_of(id)), [1, 1], "beside a prompt");
}

#[test]
fn the_more_sequences_run_the_longer_a_repetition_must_be() {
    for (others, rows) in [(0, 4), (1, 3), (2, 2), (3, 1)] {
        let mut run = Run::new(SchedulerOptions { tokens_per_step: 64, draft_tokens: 31, ..OPTIONS });
        let id = run.submit(PROMPT, 9);
        for other in 1..=others {
            run.submit(100 * other..100 * other + 5, 9);
        }
        run.step_with(3);
        run.scheduler.plan(&mut run.plan);
        assert_eq!(run.rows_of(id), rows, "beside {others}");
    }
}

#[test]
fn guesses_take_no_memory_that_tokens_need() {
    // Three blocks hold the prompt and three tokens, the fourth is the next token's.
    let mut run = Run::new(SchedulerOptions { blocks: 4, ..drafting() });
    let id = run.submit(PROMPT, 7);
    run.step_sampling(&[3]);
    run.step_sampling(&[4]);
    assert_eq!(run.rows_of(id), 1, "one block is free, for what comes");
}

/// Of a prompt that was found in the cache but for its last token, say.
#[test]
fn last_token_of_a_prompt_may_have_a_draft() {
    let mut run = Run::new(SchedulerOptions { tokens_per_step: 8, ..drafting() });
    let id = run.submit(PROMPT, 9);
    run.step_sampling(&[]);
    run.step_sampling(&[3, 4, 50]);
    assert_eq!(run.tokens_of(id), [2, 3, 4]);
    let sources: Vec<_> = run.plan.rows().iter().map(|row| row.source).collect();
    assert_eq!(sources, [TokenSource::Prompt, TokenSource::Generated, TokenSource::Generated]);
    assert_eq!(run.sampled(), [3, 4, 50]);
}
