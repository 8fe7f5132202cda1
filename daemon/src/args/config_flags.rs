//! Flags made from the configuration's keys, and back: a given flag sets its key in a document.

use clap::builder::PossibleValuesParser;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches};
use ostro_config::keys::{self, Flag, Key, Kind, key_of_flag};
use ostro_config::{Document, Problem, Support};

const MODEL_ID: &str = "models.model_id";
const FILE: &str = "models.format.quantized_file";

/// What `-f` names: the configuration in commands that read one, else the model's weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ShortF {
    Configuration,
    Weights,
}

/// The flags of the keys that `keep` accepts.
pub(crate) fn config_flags(short_f: ShortF, keep: impl Fn(&Key) -> bool) -> Vec<Arg> {
    let kept = owners().filter(|(key, _)| keep(key));
    let free = |short: &char| short_f == ShortF::Weights || *short != 'f';
    kept.map(|(key, flag)| arg(key, flag, flag.short.filter(free))).collect()
}

/// Sets the keys of all flags that were given. A file alone (`-f FILE`) names the model too.
pub(crate) fn set_flags(document: &mut Document, matches: &ArgMatches) -> Result<(), Problem> {
    let file_is_model = !document.has_models() && !is_given(matches, MODEL_ID) && is_given(matches, FILE);
    for (key, flag) in owners().filter(|(key, _)| is_given(matches, &key.path)) {
        let texts: Vec<String> = match key.kind {
            Kind::Switch => vec!["true".to_owned()],
            _ => matches.get_many::<String>(&key.path).into_iter().flatten().cloned().collect(),
        };
        match keys::key(MODEL_ID).filter(|_| file_is_model && key.path == FILE) {
            Some(model_id) => document.set_flag(model_id, flag, &texts)?,
            None => document.set_flag(key, flag, &texts)?,
        }
    }
    Ok(())
}

fn is_given(matches: &ArgMatches, id: &str) -> bool {
    // An id is unknown to the commands that lack the flag.
    matches.try_contains_id(id).unwrap_or(false) && matches.value_source(id) == Some(ValueSource::CommandLine)
}

/// Each flag with the key it sets.
fn owners() -> impl Iterator<Item = (&'static Key, &'static Flag)> {
    let flags = keys::keys().iter().filter_map(|key| key.flag.as_ref().map(|flag| (key, flag)));
    flags.filter(|(key, flag)| key_of_flag(&flag.long).is_some_and(|(owner, _)| owner.path == key.path))
}

fn arg(key: &'static Key, flag: &'static Flag, short: Option<char>) -> Arg {
    let (table, _) = key.path.rsplit_once('.').unwrap_or(("general", &key.path));
    let arg = Arg::new(key.path.as_str())
        .long(flag.long.as_str())
        .short(short)
        .visible_aliases(flag.aliases.iter().map(String::as_str))
        .help(help(key))
        .help_heading(heading(table))
        .hide_short_help(key.support() == Support::None);
    match &key.kind {
        Kind::Switch => arg.action(ArgAction::SetTrue),
        Kind::OptionalBool => {
            let values = PossibleValuesParser::new(["true", "false"]);
            arg.num_args(0..=1).default_missing_value("true").value_parser(values).value_name("BOOL")
        }
        Kind::Choice(values) => {
            let values = PossibleValuesParser::new(values.iter().map(String::as_str));
            arg.value_parser(values).value_name("NAME")
        }
        Kind::List(_) | Kind::Tables(_) => arg.action(ArgAction::Append).value_name("LIST"),
        Kind::Text(_) => arg.value_name("TEXT"),
        Kind::Path => arg.value_name("PATH"),
        // Numbers may be negative by mistake; the configuration's own message is the better one.
        Kind::Whole { .. } | Kind::WholeChoice(_) | Kind::Fraction => {
            arg.value_name("N").allow_negative_numbers(true)
        }
    }
}

fn heading(table: &'static str) -> &'static str {
    match table {
        "global" | "general" => "General",
        "runtime" => "Runtime",
        "server" => "Server",
        "paged_attn" => "KV cache",
        "sandbox" => "Sandbox",
        "models.adapter" => "Adapters",
        "models.quantization" => "Quantisation",
        "models.multimodal" => "Multimodal",
        _ => "Model",
    }
}

/// The key's own words, default and state in this build.
pub(crate) fn help(key: &Key) -> String {
    let mut help = key.doc.trim_end_matches('.').to_owned();
    let default = match (&key.default_text, &key.default) {
        (Some(text), _) => Some(text.clone()),
        (None, Some(toml_value)) if key.kind != Kind::Switch => Some(toml_value.to_string().replace('"', "")),
        _ => None,
    };
    if let Some(default) = default {
        help.push_str(&format!(" [default: {default}]"));
    }
    match key.support() {
        Support::All => {}
        Support::None => help.push_str(" [not in this build]"),
        Support::Without(values) => {
            let values: Vec<String> = values.iter().map(|value| value.to_string().replace('"', "")).collect();
            help.push_str(&format!(" [not in this build: {}]", values.join(", ")));
        }
    }
    help
}
