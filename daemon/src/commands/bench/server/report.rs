//! What the clients saw, in numbers.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use ostro_engine::bench::Percentiles;
use serde::Serialize;

use super::client::{Answer, RequestError, TokensBy};
use super::drive::{Load, Outcome};
use crate::terminal::line;

#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) url: String,
    pub(super) model: String,
    pub(super) gen_len: u32,
    pub(super) seed: u64,
    /// False: the server refuses to, and answers may be shorter than `gen_len`.
    pub(super) ignores_eos: bool,
    pub(super) runs: Vec<RunReport>,
}

#[derive(Debug, Serialize)]
pub(super) struct RunReport {
    /// Of a closed loop.
    concurrency: Option<u32>,
    /// Of an open loop, requests a second.
    rate: Option<f64>,
    prompt_len: u32,
    requests: usize,
    pub(super) succeeded: usize,
    errors: BTreeMap<String, ErrorCount>,
    /// From the first request to the end of the last answer.
    seconds: f64,
    /// As the server counts them, on average.
    prompt_tokens: Option<f64>,
    /// Of these, those that the server had in its cache.
    cached_tokens: Option<f64>,
    /// Who counted the output.
    tokens_by: TokensBy,
    output_tokens: u64,
    output_tokens_per_second: f64,
    requests_per_second: f64,
    /// To the first text.
    ttft_seconds: Option<Percentiles>,
    /// Between tokens after the first, each request's mean.
    tpot_seconds: Option<Percentiles>,
    /// Between pieces of text, of all requests: shows stalls that a request's mean hides.
    itl_seconds: Option<Percentiles>,
    /// To the end of the answer.
    latency_seconds: Option<Percentiles>,
}

#[derive(Debug, Serialize)]
struct ErrorCount {
    count: usize,
    /// What the first of them said.
    detail: Option<String>,
}

impl RunReport {
    pub(super) fn new(load: Load, prompt_len: u32, outcome: Outcome) -> RunReport {
        let Outcome { seconds, answers } = outcome;
        let requests = answers.len();
        let (answers, errors): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
        let answers: Vec<Answer> = answers.into_iter().flatten().collect();
        let output_tokens = answers.iter().map(|answer| u64::from(answer.tokens)).sum();
        let (concurrency, rate) = match load {
            Load::Closed { clients } => (Some(clients), None),
            Load::Open { rate } => (None, Some(rate)),
        };
        RunReport {
            concurrency,
            rate,
            prompt_len,
            requests,
            succeeded: answers.len(),
            errors: count(errors.into_iter().filter_map(Result::err)),
            seconds,
            prompt_tokens: mean(answers.iter().filter_map(|answer| answer.prompt_tokens)),
            cached_tokens: mean(answers.iter().filter_map(|answer| answer.cached_tokens)),
            tokens_by: match answers.iter().all(|answer| answer.tokens_by == TokensBy::Usage) {
                true => TokensBy::Usage,
                false => TokensBy::Pieces,
            },
            output_tokens,
            output_tokens_per_second: output_tokens as f64 / seconds,
            requests_per_second: answers.len() as f64 / seconds,
            ttft_seconds: percentiles(answers.iter().map(|answer| answer.first_token.as_secs_f64())),
            tpot_seconds: percentiles(answers.iter().filter_map(seconds_per_token)),
            itl_seconds: percentiles(
                answers.iter().flat_map(|answer| &answer.gaps).map(Duration::as_secs_f64),
            ),
            latency_seconds: percentiles(answers.iter().map(|answer| answer.end.as_secs_f64())),
        }
    }
}

fn count(errors: impl Iterator<Item = RequestError>) -> BTreeMap<String, ErrorCount> {
    let mut counts = BTreeMap::new();
    for error in errors {
        let fresh = ErrorCount { count: 0, detail: error.detail() };
        counts.entry(error.to_string()).or_insert(fresh).count += 1;
    }
    counts
}

fn mean(counts: impl Iterator<Item = u32>) -> Option<f64> {
    let counts: Vec<f64> = counts.map(f64::from).collect();
    (!counts.is_empty()).then(|| counts.iter().sum::<f64>() / counts.len() as f64)
}

/// `None` of an answer of one token.
fn seconds_per_token(answer: &Answer) -> Option<f64> {
    let gaps = answer.tokens.checked_sub(1).filter(|gaps| *gaps > 0)?;
    Some((answer.last_token - answer.first_token).as_secs_f64() / f64::from(gaps))
}

fn percentiles(values: impl Iterator<Item = f64>) -> Option<Percentiles> {
    let values: Vec<f64> = values.collect();
    (!values.is_empty()).then(|| Percentiles::of(values))
}

impl Report {
    /// Each kind of error with how often it came.
    pub(super) fn errors(&self) -> String {
        let lines: Vec<String> = self.runs.iter().flat_map(RunReport::error_texts).collect();
        lines.join("; ")
    }
}

impl RunReport {
    fn error_texts(&self) -> impl Iterator<Item = String> {
        self.errors.iter().map(|(kind, ErrorCount { count, detail })| match detail {
            Some(detail) => format!("{count} x {kind}: {detail}"),
            None => format!("{count} x {kind}"),
        })
    }
}

pub(super) fn table(report: &Report) -> String {
    let (model, url) = (line(&report.model), &report.url);
    let mut text = format!("{model} at {url}, {} tokens an answer, seed {}\n\n", report.gen_len, report.seed);
    text.push_str(
        "load          prompt  done        tok/s   req/s   TTFT ms: p50      p90      p99   \
         TPOT ms: p50     p90     p99   ITL ms: p50     p90     p99   latency s: p50     p90     p99\n",
    );
    for run in &report.runs {
        let load = match (run.concurrency, run.rate) {
            (Some(clients), _) => format!("{clients} at once"),
            (None, rate) => format!("{} a second", rate.unwrap_or_default()),
        };
        let prompt = run.prompt_tokens.unwrap_or(f64::from(run.prompt_len));
        let done = format!("{}/{}", run.succeeded, run.requests);
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{load:<13} {prompt:>6.0}  {done:<9} {:>7.1} {:>7.2}  {}   {}   {}   {}",
            run.output_tokens_per_second,
            run.requests_per_second,
            columns(run.ttft_seconds, 1e3, [13, 8, 8]),
            columns(run.tpot_seconds, 1e3, [12, 7, 7]),
            columns(run.itl_seconds, 1e3, [11, 7, 7]),
            columns(run.latency_seconds, 1.0, [14, 7, 7]),
        );
        run.error_texts().for_each(|error| text.push_str(&format!("              {error}\n")));
        // The chat template alone is less of it.
        if let Some(cached) = run.cached_tokens.filter(|cached| *cached > prompt / 3.0) {
            let _ = writeln!(text, "              {cached:.0} prompt tokens were in the server's cache");
        }
    }
    if !report.ignores_eos {
        text.push_str("\nThe server refuses `ignore_eos`: answers end where the model ends them.\n");
    }
    if report.runs.iter().any(|run| run.tokens_by == TokensBy::Pieces && run.succeeded > 0) {
        text.push_str(
            "\nThe server gives no usage, or one beyond what was asked for: pieces of text were counted as \
             tokens.\n",
        );
    }
    text
}

fn columns(values: Option<Percentiles>, unit: f64, widths: [usize; 3]) -> String {
    let values = values.map(|values| [values.p50, values.p90, values.p99].map(|value| value * unit));
    let digits = if unit > 1.0 { 1 } else { 2 };
    let column = |i: usize, width: usize| match values {
        Some(values) => format!("{:>width$.digits$}", values[i]),
        None => format!("{:>width$}", "-"),
    };
    [0, 1, 2].map(|i| column(i, widths[i])).join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(gaps_ms: &[u64]) -> RunReport {
        let gaps: Vec<Duration> = gaps_ms.iter().copied().map(Duration::from_millis).collect();
        let first_token = Duration::from_millis(50);
        let last_token = first_token + gaps.iter().sum::<Duration>();
        let tokens = gaps.len() as u32 + 1;
        let (tokens_by, prompt_tokens, cached_tokens) = (TokensBy::Usage, Some(218), Some(30));
        let end = last_token;
        let answer =
            Answer { first_token, last_token, gaps, end, tokens, tokens_by, prompt_tokens, cached_tokens };
        RunReport::new(Load::closed(1), 218, Outcome { seconds: 2.0, answers: vec![Ok(answer)] })
    }

    fn table_of(run: RunReport) -> String {
        let (url, model) = ("http://127.0.0.1:1".to_owned(), "m".to_owned());
        table(&Report { url, model, gen_len: 64, seed: 7, ignores_eos: true, runs: vec![run] })
    }

    #[test]
    fn prompts_that_a_cache_had_are_told() {
        let template = run(&[10]);
        assert_eq!(template.cached_tokens, Some(30.0));
        assert!(!table_of(template).contains("cache"));
        let table = table_of(RunReport { cached_tokens: Some(192.0), ..run(&[10]) });
        assert!(table.contains("192 prompt tokens were in the server's cache"), "{table}");
    }

    #[test]
    fn a_stall_shows_between_pieces_and_hides_in_the_mean() {
        let mut gaps_ms = [10; 50];
        gaps_ms[20] = 1000;
        let run = run(&gaps_ms);
        let (mean, between) = (run.tpot_seconds.unwrap(), run.itl_seconds.unwrap());
        assert_eq!((mean.count, between.count), (1, 50));
        assert!(mean.p99 < 0.03 && between.p50 == 0.01 && between.p99 > 0.5, "{mean:?} {between:?}");
        let table = table_of(run);
        assert!(table.contains("ITL ms: p50     p90     p99"), "{table}");
        assert!(table.contains("       10.0    10.0   514.9"), "{table}");
    }

    #[test]
    fn an_answer_in_one_piece_has_nothing_between() {
        let run = run(&[]);
        assert_eq!((run.tpot_seconds, run.itl_seconds), (None, None));
        let table = table_of(run);
        assert_eq!(table.matches(" -").count(), 6, "{table}");
    }
}
