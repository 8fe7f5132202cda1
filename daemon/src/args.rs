//! The command line: its commands, and the flags that stand for configuration keys.

mod bench;
pub(crate) mod config_flags;
mod numbers;
mod reference;

use std::net::SocketAddr;

use clap::builder::styling::Styles;
use clap::{Arg, ArgAction, ColorChoice, Command, value_parser};
use clap_complete::Shell;
use config_flags::{ShortF, config_flags};

pub(crate) use numbers::Numbers;

/// The whole command line.
pub(crate) fn command() -> Command {
    Command::new("ostro")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Runs language models: an OpenAI server, a chat in the terminal, a benchmark")
        .styles(Styles::styled())
        .color(ColorChoice::Auto)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .arg(
            Arg::new("verbose")
                .short('v')
                .long("verbose")
                .action(ArgAction::Count)
                .global(true)
                .help("Log more: -v debug, -vv trace; RUST_LOG overrides it"),
        )
        .subcommands([
            serve(),
            run(),
            pull(),
            prune(),
            bench::bench(),
            from_config(),
            config(),
            doctor(),
            completions(),
        ])
}

fn serve() -> Command {
    let flags = config_flags(ShortF::Weights, |key| key.command != Some(ostro_config::Command::Run));
    Command::new("serve").about("Answers OpenAI clients over HTTP").args(flags)
}

fn run() -> Command {
    let flags = config_flags(ShortF::Weights, |key| key.command != Some(ostro_config::Command::Serve));
    let input = Arg::new("input").short('i').long("input").value_name("TEXT");
    let max_tokens =
        Arg::new("max-tokens").long("max-tokens").value_name("N").value_parser(value_parser!(u32).range(1..));
    Command::new("run")
        .about("Chats in the terminal, or answers once")
        .arg(input.help("Answer this text and end; without it, chat").allow_hyphen_values(true))
        .arg(max_tokens.help("Tokens of an answer at most [default: what the context holds]"))
        .args(flags)
}

fn pull() -> Command {
    let listen =
        Arg::new("listen").long("listen").value_name("ADDRESS:PORT").value_parser(value_parser!(SocketAddr));
    Command::new("pull")
        .about("Downloads the models of a configuration, and loads none; prints where each one is")
        .arg(file())
        .arg(listen.help("Tell how far it is at /v1/models of this address meanwhile, as a server does"))
        .args(config_flags(ShortF::Configuration, |_| true))
}

fn prune() -> Command {
    let yes =
        Arg::new("yes").long("yes").action(ArgAction::SetTrue).help("Remove it; without, it is only told");
    Command::new("prune")
        .about("Tells what the model cache holds that a configuration does not need, and removes it where told to")
        .arg(file().required(true))
        .arg(yes)
        .args(config_flags(ShortF::Configuration, |_| true))
}

fn from_config() -> Command {
    Command::new("from-config")
        .about("Does what a configuration file says; flags override it")
        .arg(file().required(true))
        .args(config_flags(ShortF::Configuration, |_| true))
}

fn config() -> Command {
    let command = |name: &'static str, about: &'static str| {
        Command::new(name).about(about).arg(file()).args(config_flags(ShortF::Configuration, |_| true))
    };
    Command::new("config")
        .about("Looks at a configuration")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(command("check", "Says what is wrong with a file and flags, by line and key"))
        .subcommand(command("show", "Prints the values in force and where each comes from"))
}

fn file() -> Arg {
    Arg::new("file")
        .short('f')
        .long("file")
        .value_name("FILE")
        .help("Configuration file (.toml) or InferenceDeployment (.yaml), or - for standard input")
}

fn doctor() -> Command {
    let switch = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
    };
    Command::new("doctor")
        .about("Looks at this machine as a place to run models; exits with 1 if a check failed")
        .arg(switch("json", "Print JSON"))
        .arg(switch("hub", "Ask the model hub too whether it answers"))
}

fn completions() -> Command {
    let shell = Arg::new("shell").required(true).value_name("SHELL").value_parser(value_parser!(Shell));
    Command::new("completions").about("Prints a completion script for a shell").arg(shell)
}
