//! One command a file; here the way from the command line to them.

mod bench;
mod beside;
mod completions;
mod config;
mod doctor;
mod prune;
mod pull;
mod run;
mod serve;
mod stop;

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;
use std::time::Duration;

use clap::ArgMatches;
use ostro_config::manifest::KIND;
use ostro_config::{Command, Document, Loaded};
use ostro_engine::Isa;
use ostro_server::models::Loaded as Model;
use tracing::Level;

use crate::args::config_flags::set_flags;
use crate::environment::Environment;
use crate::failure::Failure;
use crate::gpu;
use crate::hub::hub_options;
use crate::logging::{self, Verbosity};
use crate::progress::Bar;
use crate::terminal::Texts;
use crate::translate::{Plan, plan};

/// Larger files are not configurations.
const FILE_BYTES_MAX: u64 = 1 << 20;
const DRAIN_SECONDS_MAX: u64 = 86_400;

pub(crate) fn run(matches: &ArgMatches) -> Result<(), Failure> {
    let environment = Environment::read();
    let (name, matches) = matches.subcommand().expect("the command line demands a command");
    match name {
        "serve" => serve_or_run(load(Document::for_command(Command::Serve), matches)?, matches, &environment),
        "run" => serve_or_run(load(Document::for_command(Command::Run), matches)?, matches, &environment),
        "from-config" => serve_or_run(load(read_file(matches)?, matches)?, matches, &environment),
        "pull" => pull::run(matches, &environment),
        "prune" => prune::run(matches, &environment),
        "bench" => bench::run(matches, &environment),
        "config" => config::run(matches),
        "doctor" => doctor::run(matches, &environment),
        "completions" => completions::run(matches),
        name => Err(Failure::Usage(format!("unknown command {name}"))),
    }
}

fn serve_or_run(loaded: Loaded, matches: &ArgMatches, environment: &Environment) -> Result<(), Failure> {
    let plan = supported(&loaded, environment)?;
    start_logging(&plan, matches, environment)?;
    if loaded.asks_for_gpu() {
        gpu::tell_without(&plan.models);
    }
    match plan.command {
        Command::Serve => serve::run(plan, environment),
        Command::Run => run::run(plan, matches, environment),
    }
}

/// That of `-f FILE` where it was given, else one of flags alone.
fn document(matches: &ArgMatches) -> Result<Document, Failure> {
    match matches.contains_id("file") {
        true => read_file(matches),
        false => Ok(Document::for_command(Command::Serve)),
    }
}

/// The document of `-f FILE`.
fn read_file(matches: &ArgMatches) -> Result<Document, Failure> {
    let name = matches.get_one::<String>("file").expect("clap demands a file").as_str();
    let (name, file): (&str, Box<dyn Read>) = match name {
        "-" | "/dev/stdin" => ("standard input", Box::new(io::stdin())),
        name => (name, Box::new(open(name)?)),
    };
    let failed = |reason: &dyn std::fmt::Display| Failure::Usage(format!("{name}: {reason}"));
    let mut text = String::new();
    file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(|error| failed(&error))?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(failed(&format!("is larger than {FILE_BYTES_MAX} bytes")));
    }
    // Standard input has no name to go by.
    let is_manifest = is_manifest_name(name) || (name == "standard input" && has_kind(&text));
    Ok(if is_manifest { Document::parse_manifest(name, &text)? } else { Document::parse(name, &text)? })
}

/// An `InferenceDeployment` as `kubectl apply` takes it.
fn is_manifest_name(name: &str) -> bool {
    let extension = Path::new(name).extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|extension| ["yaml", "yml", "json"].contains(&extension))
}

/// Whether a text has the kind of such an object, as YAML and JSON write it.
fn has_kind(text: &str) -> bool {
    let is_between = |character: char| character.is_whitespace() || "\"'".contains(character);
    text.match_indices(KIND).any(|(at, _)| {
        let key = text[..at].trim_end_matches(is_between).strip_suffix(':');
        key.is_some_and(|key| key.trim_end_matches(is_between).ends_with("kind"))
    })
}

fn open(name: &str) -> Result<File, Failure> {
    let failed = |reason: &dyn std::fmt::Display| Failure::Usage(format!("{name}: {reason}"));
    if Path::new(name).extension().is_none_or(|extension| extension != "toml") && !is_manifest_name(name) {
        return Err(failed(&"the name of a configuration file must end in .toml, or .yaml for a manifest"));
    }
    // Opening a named pipe would wait for its writer.
    match fs::metadata(name) {
        Ok(file) if !file.is_file() => Err(failed(&"is not a regular file; -f - reads standard input")),
        Ok(_) => File::open(name).map_err(|error| failed(&error)),
        Err(error) => Err(failed(&error)),
    }
}

/// A document with the flags that were given, checked.
fn load(document: Document, matches: &ArgMatches) -> Result<Loaded, Failure> {
    Ok(Loaded::from_document(with_flags(document, matches)?)?)
}

fn with_flags(mut document: Document, matches: &ArgMatches) -> Result<Document, Failure> {
    set_flags(&mut document, matches).map_err(|problem| Failure::Usage(problem.to_string()))?;
    Ok(document)
}

fn supported(loaded: &Loaded, environment: &Environment) -> Result<Plan, Failure> {
    loaded.unsupported()?;
    let isa = environment.instruction_set.as_deref().map(instruction_set).transpose()?;
    let device = gpu::device(environment.require_gpu.as_deref())?;
    let mut plan = plan(loaded.clone(), isa, device);
    if let Some(seconds) = &environment.drain_seconds {
        plan.server.grace = drain_time(seconds)?;
    }
    Ok(plan)
}

fn instruction_set(name: &str) -> Result<Isa, Failure> {
    Isa::from_name(name).map_err(|error| {
        let names: Vec<&str> = Isa::supported().into_iter().map(Isa::name).collect();
        Failure::Usage(format!("OSTRO_CPU = {name:?}: {error}; here it can be {}", names.join(", ")))
    })
}

fn drain_time(seconds: &str) -> Result<Duration, Failure> {
    let seconds = seconds.parse().ok().filter(|seconds| *seconds <= DRAIN_SECONDS_MAX).ok_or_else(|| {
        Failure::Usage(format!(
            "OSTRO_DRAIN_SECONDS = {seconds:?}: must be whole seconds from 0 to {DRAIN_SECONDS_MAX}"
        ))
    })?;
    Ok(Duration::from_secs(seconds))
}

fn start_logging(plan: &Plan, matches: &ArgMatches, environment: &Environment) -> Result<(), Failure> {
    let quiet = if plan.command == Command::Serve { Level::INFO } else { Level::WARN };
    let verbosity = Verbosity { flags: matches.get_count("verbose"), quiet };
    logging::start(environment, verbosity, plan.access_log)
}

/// The only model of a command that runs one, with a bar in the terminal while it loads.
fn load_only(plan: &mut Plan, environment: &Environment) -> Result<Model, Failure> {
    let model = plan.models.pop().expect("validation demands a model");
    let hub = hub_options(environment, &plan.token_source, model.hub_cache.clone())?;
    let bar = Bar::new();
    Ok(crate::load::load(model, &hub, &|step| bar.show(&step)).map_err(anyhow::Error::new)?)
}

/// Writes to standard output, where a terminal shows what would steer it; a reader that has gone (`| head`) is no failure.
fn print(bytes: &[u8]) -> Result<(), Failure> {
    let mut output = Texts::stdout();
    match output.write_all(bytes).and_then(|()| output.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::Runtime(anyhow::Error::new(error).context("cannot write to standard output")))
        }
        _ => Ok(()),
    }
}
