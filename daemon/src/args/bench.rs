//! The benchmark's own flags. Those of a server (`--url`) and those of a model in this process exclude each other.

use clap::{Arg, ArgAction, Command, value_parser};

use super::config_flags::{ShortF, config_flags};
use super::numbers::{Numbers, parse_rate};

/// Keys that change nothing a benchmark measures.
const NOT_IN_BENCH: [&str; 4] =
    ["global.seed", "global.log", "runtime.chat_template", "runtime.jinja_explicit"];

/// Flags that only a server's benchmark has.
const OF_SERVERS: &str = "A running server";

pub(super) fn bench() -> Command {
    let config_flags = config_flags(ShortF::Weights, |key| {
        key.command.is_none() && !NOT_IN_BENCH.contains(&key.path.as_str())
    });
    let in_process = ["depth", "iterations"].map(clap::Id::from);
    let in_process: Vec<_> =
        in_process.into_iter().chain(config_flags.iter().map(|flag| flag.get_id().clone())).collect();
    Command::new("bench")
        .about("Measures a model in this process, or a server of any kind by its URL")
        .arg(numbers("prompt-len", "512", "Prompt tokens of each measurement; 0 measures no prompts alone"))
        .arg(
            number(
                "gen-len",
                value_parser!(u32),
                "Tokens that each sequence generates; 0 measures no decoding",
            )
            .default_value("128"),
        )
        .arg(numbers("depth", "0", "Tokens in the cache before each decode measurement"))
        .arg(numbers("concurrency", "1,16", "Sequences or clients at once, for each measurement"))
        .arg(
            number("iterations", value_parser!(u32).range(1..), "Measurements of each kind")
                .default_value("3"),
        )
        .arg(
            number(
                "warmup",
                value_parser!(u32),
                "Measurements (of a server: requests) before the first that counts",
            )
            .default_value("1"),
        )
        .arg(Arg::new("json").long("json").action(ArgAction::SetTrue).help("Print JSON"))
        .args(server_flags(in_process))
        .args(config_flags)
}

fn server_flags(in_process: Vec<clap::Id>) -> Vec<Arg> {
    let of_servers = |arg: Arg| arg.help_heading(OF_SERVERS);
    let url = Arg::new("url")
        .long("url")
        .value_name("URL")
        .conflicts_with_all(in_process)
        .help("Measure the OpenAI server at this address, as in http://127.0.0.1:1234: the time to the first text (TTFT), between tokens as each request's mean (TPOT), between pieces of text as they come (ITL, in which stalls show) and to the end (latency)");
    let model = Arg::new("model")
        .long("model")
        .value_name("ID")
        .help("The server's model [default: the first that it lists]");
    let rate = Arg::new("rate")
        .long("rate")
        .value_name("R")
        .value_parser(parse_rate)
        .conflicts_with("concurrency")
        .help("Requests a second, at random moments (Poisson) whatever is unanswered; without it, each client sends its next request when the last is answered");
    let requests = number(
        "requests",
        value_parser!(u32).range(1..),
        "Requests of each measurement, one a client at least [default: 4 a client, 8 at least; 32 with --rate]",
    );
    let seed = number(
        "seed",
        value_parser!(u64),
        "Seed of the prompts and moments [default: the time, so that no server's cache has the prompts]",
    );
    [url, model, rate, requests, seed].map(of_servers).to_vec()
}

fn numbers(long: &'static str, default: &'static str, help: &'static str) -> Arg {
    Arg::new(long).long(long).value_name("N,N").default_value(default).value_parser(Numbers::parse).help(help)
}

fn number(
    long: &'static str,
    parser: impl clap::builder::IntoResettable<clap::builder::ValueParser>,
    help: &'static str,
) -> Arg {
    Arg::new(long).long(long).value_name("N").value_parser(parser).help(help)
}
