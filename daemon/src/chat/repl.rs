//! Reads a line, does what it asks for, until the end.

use std::io::{self, Write};

use tokio::runtime::Runtime;

use super::command::{ChatCommand, HELP, parse};
use super::editor::{Line, LineEditor};
use super::{Answer, ChatError, Conversation, speed};

/// Chats until the person ends it. Only a broken terminal is an error.
pub(crate) fn chat(
    runtime: &Runtime,
    conversation: &mut Conversation,
    editor: &mut LineEditor,
) -> rustyline::Result<()> {
    loop {
        let line = match editor.read()? {
            Line::Text(line) => line,
            Line::Interrupted => {
                eprintln!("/exit or Ctrl-D ends");
                continue;
            }
            Line::End => return Ok(()),
        };
        match parse(&line) {
            Ok(ChatCommand::Exit) => return Ok(()),
            Ok(ChatCommand::Say(text)) => {
                if let Err(error) = say(runtime, conversation, &text) {
                    eprintln!("error: {:#}", anyhow::Error::new(error));
                }
            }
            Ok(ChatCommand::Help) => {
                let _ = writeln!(io::stdout(), "{HELP}");
            }
            Ok(command) => obey(conversation, command),
            Err(message) => eprintln!("{message}"),
        }
    }
}

/// Answers one text on standard output, and tells the speed on standard error.
pub(crate) fn say(runtime: &Runtime, conversation: &mut Conversation, text: &str) -> Result<(), ChatError> {
    let mut output = io::stdout();
    let interrupt = async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    let answer = runtime.block_on(conversation.answer(text, &mut output, interrupt))?;
    // A reader that left is no failure: the next answer tells.
    let _ = writeln!(output);
    match answer {
        Answer::Finished(usage) => eprintln!("[{}]", speed(&usage)),
        Answer::Interrupted => eprintln!("[stopped]"),
    }
    Ok(())
}

fn obey(conversation: &mut Conversation, command: ChatCommand) {
    let sampling = &mut conversation.settings.sampling;
    match command {
        ChatCommand::Clear => conversation.clear(),
        ChatCommand::System(text) => conversation.settings.system = text,
        ChatCommand::Temperature(temperature) => sampling.temperature = temperature,
        ChatCommand::TopK(k) => sampling.top_k = k,
        ChatCommand::TopP(p) => sampling.top_p = p,
        ChatCommand::Nothing | ChatCommand::Help | ChatCommand::Say(_) | ChatCommand::Exit => {}
    }
}
