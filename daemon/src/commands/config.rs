//! `ostro config check` and `ostro config show`.

use clap::ArgMatches;
use ostro_config::Loaded;

use super::{document, load, with_flags};
use crate::failure::Failure;

pub(super) fn run(matches: &ArgMatches) -> Result<(), Failure> {
    let (name, matches) = matches.subcommand().expect("clap demands a command");
    let document = document(matches)?;
    if name == "show" {
        let loaded = Loaded::for_listing(with_flags(document, matches)?)?;
        return super::print(loaded.to_toml().as_bytes());
    }
    let loaded = load(document, matches)?;
    loaded.unsupported()?;
    let models = loaded.config.models.len();
    super::print(format!("ok: {models} model{}\n", if models == 1 { "" } else { "s" }).as_bytes())
}
