//! Reads lines from the terminal, with history and texts of several lines.

use std::path::PathBuf;

use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Config, Editor, Helper};

use super::command::is_open;

const HISTORY_LINES: usize = 1000;

/// What a person typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    Text(String),
    /// Ctrl-C on an empty or half-written line.
    Interrupted,
    End,
}

pub(crate) struct LineEditor {
    editor: Editor<Lines, FileHistory>,
    history: Option<PathBuf>,
}

impl LineEditor {
    /// `state_dir` keeps the history; without it, or where it cannot be written, history lasts as long as the program.
    pub(crate) fn new(state_dir: Option<PathBuf>) -> rustyline::Result<Self> {
        let config = Config::builder().max_history_size(HISTORY_LINES)?.auto_add_history(true).build();
        let mut editor = Editor::with_config(config)?;
        editor.set_helper(Some(Lines));
        let history = state_dir.filter(|folder| std::fs::create_dir_all(folder).is_ok());
        let history = history.map(|folder| folder.join("history"));
        if let Some(history) = history.as_ref().filter(|history| history.exists())
            && let Err(error) = editor.load_history(history)
        {
            tracing::warn!(%error, "cannot read the history");
        }
        Ok(LineEditor { editor, history })
    }

    pub(crate) fn read(&mut self) -> rustyline::Result<Line> {
        match self.editor.readline("> ") {
            Ok(line) => Ok(Line::Text(line)),
            Err(ReadlineError::Interrupted) => Ok(Line::Interrupted),
            Err(ReadlineError::Eof) => Ok(Line::End),
            Err(error) => Err(error),
        }
    }
}

impl Drop for LineEditor {
    fn drop(&mut self) {
        if let Some(history) = &self.history
            && let Err(error) = self.editor.save_history(history)
        {
            tracing::warn!(%error, "cannot keep the history");
        }
    }
}

/// Tells the editor when a text goes on in the next line.
struct Lines;

impl Validator for Lines {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        Ok(if is_open(context.input()) {
            ValidationResult::Incomplete
        } else {
            ValidationResult::Valid(None)
        })
    }
}

impl Completer for Lines {
    type Candidate = String;
}

impl Hinter for Lines {
    type Hint = String;
}

impl Highlighter for Lines {}

impl Helper for Lines {}
