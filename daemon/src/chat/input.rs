//! Where a chat's lines come from: a person at a terminal, or a pipe.

use std::io;

use tokio::runtime::Runtime;

use super::editor::LineEditor;
use super::piped::PipedLines;

/// What was typed or piped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    Text(String),
    /// Ctrl-C while no answer runs.
    Interrupted,
    End,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum InputError {
    #[error("line {line} of the input is not UTF-8")]
    NotUtf8 { line: usize },
    #[error("cannot read the input")]
    Read(#[from] io::Error),
}

/// What Ctrl-C means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CtrlC {
    StopsAnswer,
    Ends,
}

pub(crate) enum Input {
    Terminal(Box<LineEditor>),
    Piped(PipedLines),
}

impl Input {
    pub(super) fn read(&mut self, runtime: &Runtime) -> Result<Line, InputError> {
        match self {
            Input::Terminal(editor) => editor.read(),
            Input::Piped(lines) => lines.read(runtime),
        }
    }

    pub(super) fn ctrl_c(&self) -> CtrlC {
        match self {
            Input::Terminal(_) => CtrlC::StopsAnswer,
            Input::Piped(_) => CtrlC::Ends,
        }
    }

    /// Ready at Ctrl-C; on a terminal, at one from now on.
    pub(super) async fn interrupted(&mut self) {
        match self {
            Input::Terminal(_) => ctrl_c().await,
            Input::Piped(lines) => lines.interrupted().await,
        }
    }
}

/// Ready at a Ctrl-C from now on.
pub(super) async fn ctrl_c() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}
