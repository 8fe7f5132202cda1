//! Sends requests as clients would: each after its last answer (closed), or at random moments (open).

use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::client::{Answer, Client, Request, RequestError};
use super::prompts::Prompts;

/// Moments draw from a seed of their own, so that they do not depend on the lengths of prompts.
const MOMENTS: u64 = 0x6d6f_6d65_6e74_7300;
/// Tokio's timers have steps of a millisecond.
const TIMER_LATENESS_MAX: Duration = Duration::from_millis(2);

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Load {
    Closed {
        clients: u32,
    },
    /// Requests a second.
    Open {
        rate: f64,
    },
}

pub(super) struct Setup {
    pub(super) client: Client,
    pub(super) prompts: Prompts,
    pub(super) gen_len: u32,
    pub(super) seed: u64,
}

pub(super) struct Outcome {
    pub(super) seconds: f64,
    pub(super) answers: Vec<Result<Answer, RequestError>>,
}

impl Load {
    pub(super) fn closed(clients: u32) -> Load {
        Load::Closed { clients }
    }

    pub(super) fn requests_default(self) -> u32 {
        match self {
            Load::Closed { clients } => clients.saturating_mul(4).max(8),
            Load::Open { .. } => 32,
        }
    }
}

pub(super) async fn drive(setup: &mut Setup, load: Load, prompt_len: u32, requests: u32) -> Outcome {
    // Made before the clock starts.
    let prompts: Vec<String> = (0..requests).map(|_| setup.prompts.unique(prompt_len)).collect();
    let sends = prompts.into_iter().map(|prompt| Request { prompt, max_tokens: setup.gen_len });
    let client = std::sync::Arc::new(setup.client.clone());
    let send = move |request: Request, due| {
        let client = client.clone();
        async move { client.send(request, due).await }
    };
    let began = Instant::now();
    let answers = match load {
        Load::Closed { clients } => closed(sends, clients, send).await,
        Load::Open { rate } => open(sends, &moments(setup.seed, rate, requests), send).await,
    };
    Outcome { seconds: began.elapsed().as_secs_f64(), answers }
}

/// As many requests at once as there are clients, until none is left.
async fn closed<R, F: Future + Send + 'static>(
    mut requests: impl Iterator<Item = R>,
    clients: u32,
    send: impl Fn(R, Instant) -> F,
) -> Vec<F::Output>
where
    F::Output: Send,
{
    let (mut running, mut answers) = (JoinSet::new(), Vec::new());
    for request in requests.by_ref().take(clients as usize) {
        running.spawn(send(request, Instant::now()));
    }
    while let Some(answer) = running.join_next().await {
        answers.push(answer.expect("a request neither panics nor is cancelled"));
        if let Some(request) = requests.next() {
            running.spawn(send(request, Instant::now()));
        }
    }
    answers
}

/// Each request at its moment, whatever is unanswered. One that is sent late was due all the same: the client's own
/// lateness under load must not make a server look faster. The timer's is not the server's.
async fn open<R, F: Future + Send + 'static>(
    requests: impl Iterator<Item = R>,
    moments: &[Duration],
    send: impl Fn(R, Instant) -> F,
) -> Vec<F::Output>
where
    F::Output: Send,
{
    let (mut running, began) = (JoinSet::new(), Instant::now());
    for (request, moment) in requests.zip(moments) {
        let due = began + *moment;
        tokio::time::sleep_until(due).await;
        let now = Instant::now();
        running.spawn(send(request, if now - due > TIMER_LATENESS_MAX { due } else { now }));
    }
    running.join_all().await
}

/// Times of a Poisson process from its start: gaps are exponential with a mean of `1 / rate`.
fn moments(seed: u64, rate: f64, count: u32) -> Vec<Duration> {
    let mut random = ChaCha8Rng::seed_from_u64(seed ^ MOMENTS);
    let mut at = 0.0;
    let mut next = || {
        // In (0, 1]: its logarithm is finite.
        let uniform = ((random.next_u64() >> 11) + 1) as f64 / (1u64 << 53) as f64;
        at -= uniform.ln() / rate;
        Duration::from_secs_f64(at)
    };
    (0..count).map(|_| next()).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn moments_come_at_the_rate_and_repeat() {
        let of = |seed| moments(seed, 50.0, 10_000);
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2));
        let (all, mean) = (of(1), of(1)[9_999].as_secs_f64() / 10_000.0);
        assert!((mean - 0.02).abs() < 0.001, "{mean}");
        assert!(all.is_sorted());
        // Of exponential gaps, a share of 1/e is longer than their mean.
        let long = all.windows(2).filter(|pair| (pair[1] - pair[0]).as_secs_f64() > 0.02).count();
        assert!((3_400..3_960).contains(&long), "{long}");
    }

    /// Sleeps for a second of paused time, and counts how many do so at once.
    async fn busy(now: Arc<AtomicUsize>, most: Arc<AtomicUsize>) {
        let running = now.fetch_add(1, Ordering::Relaxed) + 1;
        most.fetch_max(running, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_secs(1)).await;
        now.fetch_sub(1, Ordering::Relaxed);
    }

    #[tokio::test(start_paused = true)]
    async fn clients_wait_for_answers_and_moments_do_not() {
        let (now, most) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let send = |(), _| busy(now.clone(), most.clone());
        let began = Instant::now();
        assert_eq!(closed(std::iter::repeat_n((), 10), 4, send).await.len(), 10);
        assert_eq!((most.swap(0, Ordering::Relaxed), began.elapsed().as_secs()), (4, 3));
        let moments = [0, 100, 200, 300, 2000].map(Duration::from_millis);
        let began = Instant::now();
        assert_eq!(open(std::iter::repeat_n((), 5), &moments, send).await.len(), 5);
        assert_eq!((most.load(Ordering::Relaxed), began.elapsed().as_secs()), (4, 3));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_sent_late_was_due_at_its_moment() {
        let began = Instant::now();
        let waited = |(), due: Instant| {
            let (due, late) = (due - began, due.elapsed());
            async move { (due.as_millis(), late.as_millis()) }
        };
        // Parsing of other answers, while which nothing can be sent.
        let busy = tokio::spawn(tokio::time::advance(Duration::from_millis(150)));
        let moments = [100, 200].map(Duration::from_millis);
        assert_eq!(open(std::iter::repeat_n((), 2), &moments, waited).await, [(100, 50), (200, 0)]);
        busy.await.unwrap();
    }
}
