//! `ostro run`: a chat, or one answer.

use std::io::IsTerminal;

use anyhow::Context;
use clap::ArgMatches;
use ostro_server::models::Loaded;

use crate::chat::editor::LineEditor;
use crate::chat::input::Input;
use crate::chat::log::ChatLog;
use crate::chat::piped::PipedLines;
use crate::chat::repl::{self, End};
use crate::chat::{ChatSettings, Conversation};
use crate::environment::Environment;
use crate::failure::Failure;
use crate::notice::notice;
use crate::translate::Plan;

pub(super) fn run(mut plan: Plan, matches: &ArgMatches, environment: &Environment) -> Result<(), Failure> {
    let Loaded { engine, defaults } = super::load_only(&mut plan, environment)?;
    // `from-config` has neither flag.
    let max_tokens = matches.try_get_one::<u32>("max-tokens").ok().flatten().copied();
    let input = matches.try_get_one::<String>("input").ok().flatten();
    let log = match &plan.server.router.payload_log {
        Some(path) => {
            Some(ChatLog::open(path).with_context(|| format!("cannot open the log {}", path.display()))?)
        }
        None => None,
    };
    let mut conversation =
        Conversation::new(engine, ChatSettings::new(defaults, max_tokens), &plan.chat, log);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    if let Some(text) = input {
        return ended(repl::say_once(&runtime, &mut conversation, text).map_err(anyhow::Error::new)?);
    }
    if !conversation.has_template() {
        notice("The model has no chat template: it continues each text, and remembers nothing.");
    }
    let mut input = match std::io::stdin().is_terminal() {
        true => {
            notice("/help lists the commands.");
            let editor = LineEditor::new(environment.state_dir.clone()).map_err(anyhow::Error::new)?;
            Input::Terminal(Box::new(editor))
        }
        false => Input::Piped(PipedLines::new(&runtime).context("cannot read the input")?),
    };
    ended(repl::chat(&runtime, &mut conversation, &mut input).map_err(anyhow::Error::new)?)
}

/// A reader that has gone (`| head`) is no failure.
fn ended(end: End) -> Result<(), Failure> {
    match end {
        End::Done | End::NoReader => Ok(()),
        End::Interrupted => Err(Failure::Interrupted),
        End::Unanswered => Err(Failure::Told),
    }
}
