//! Reads a line, does what it asks for, until the end.

use std::io::{self, ErrorKind, Write};

use ostro_engine::SubmitError;
use ostro_engine::request::Finished;
use tokio::runtime::Runtime;

use super::command::{ChatCommand, HELP, parse};
use super::input::{CtrlC, Input, InputError, Line, ctrl_c};
use super::{Answer, ChatError, Conversation, speed};
use crate::notice::notice;
use crate::terminal::Texts;

/// Why a chat or an answer is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Done,
    /// By Ctrl-C.
    Interrupted,
    /// Whoever read the answers is gone (`| head`).
    NoReader,
    /// Of texts that no person typed, one was not answered, as was told.
    Unanswered,
}

/// Chats until the person ends it. Only input that cannot be read is an error.
pub(crate) fn chat(
    runtime: &Runtime,
    conversation: &mut Conversation,
    input: &mut Input,
) -> Result<End, InputError> {
    let mut done = End::Done;
    loop {
        let line = match input.read(runtime)? {
            Line::Text(line) => line,
            Line::Interrupted if input.ctrl_c() == CtrlC::Ends => return Ok(End::Interrupted),
            Line::Interrupted => {
                notice("/exit or Ctrl-D ends");
                continue;
            }
            Line::End => return Ok(done),
        };
        match parse(&line) {
            Ok(ChatCommand::Exit) => return Ok(done),
            Ok(ChatCommand::Say(text)) => match say_next(runtime, conversation, input, &text) {
                End::Interrupted if input.ctrl_c() == CtrlC::Ends => return Ok(End::Interrupted),
                End::NoReader => return Ok(End::NoReader),
                // A person has seen it, and gone on.
                End::Unanswered if input.ctrl_c() == CtrlC::Ends => done = End::Unanswered,
                End::Done | End::Interrupted | End::Unanswered => {}
            },
            Ok(ChatCommand::Help) => {
                let _ = writeln!(io::stdout(), "{HELP}");
            }
            Ok(command) => obey(conversation, command),
            Err(message) => notice(message),
        }
    }
}

/// Answers one text and ends.
pub(crate) fn say_once(
    runtime: &Runtime,
    conversation: &mut Conversation,
    text: &str,
) -> Result<End, ChatError> {
    let (end, _) = say(runtime, conversation, text, ctrl_c())?;
    Ok(end)
}

/// Answers one text of a chat; what goes wrong is told, and the chat goes on.
fn say_next(runtime: &Runtime, conversation: &mut Conversation, input: &mut Input, text: &str) -> End {
    let earlier = conversation.has_messages();
    match say(runtime, conversation, text, input.interrupted()) {
        Ok((end, finished)) => {
            if finished.is_some_and(|finished| conversation.fills_context(&finished)) {
                notice("[the context is full: /clear forgets the conversation]");
            }
            end
        }
        Err(error) => {
            let full = matches!(error, ChatError::Submit(SubmitError::ContextExceeded { .. }));
            let hint = if full && earlier { "; /clear forgets the conversation" } else { "" };
            notice(format_args!("error: {:#}{hint}", anyhow::Error::new(error)));
            End::Unanswered
        }
    }
}

/// Answers one text on standard output, and tells the speed on standard error.
fn say(
    runtime: &Runtime,
    conversation: &mut Conversation,
    text: &str,
    interrupt: impl Future<Output = ()>,
) -> Result<(End, Option<Finished>), ChatError> {
    let mut output = Texts::stdout();
    let answer = match runtime.block_on(conversation.answer(text, &mut output, interrupt)) {
        Err(ChatError::Write(error)) if error.kind() == ErrorKind::BrokenPipe => {
            return Ok((End::NoReader, None));
        }
        answer => answer?,
    };
    if writeln!(output).is_err_and(|error| error.kind() == ErrorKind::BrokenPipe) {
        return Ok((End::NoReader, None));
    }
    match answer {
        Answer::Finished(finished) => {
            notice(format_args!("[{}]", speed(&finished.usage)));
            Ok((End::Done, Some(finished)))
        }
        Answer::Interrupted => {
            notice("[stopped]");
            Ok((End::Interrupted, None))
        }
    }
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
