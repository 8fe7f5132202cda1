//! Reads lines from the terminal, with history and texts of several lines.

use std::io;
use std::path::PathBuf;

use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Config, Editor, Helper};

use super::command::is_open;
use super::input::{InputError, Line};

const HISTORY_LINES: usize = 1000;

pub(crate) struct LineEditor {
    editor: Editor<Lines, FileHistory>,
    history: Option<PathBuf>,
}

impl LineEditor {
    /// `state_dir` keeps the history; without it, or where it cannot be written, history lasts as long as the program.
    pub(crate) fn new(state_dir: Option<PathBuf>) -> Result<Self, InputError> {
        let config = Config::builder().max_history_size(HISTORY_LINES).map_err(plain)?.build();
        let mut editor = Editor::with_config(config).map_err(plain)?;
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

    pub(super) fn read(&mut self) -> Result<Line, InputError> {
        match self.editor.readline("> ") {
            Ok(line) => {
                self.remember(&line);
                Ok(Line::Text(line))
            }
            Err(ReadlineError::Interrupted) => Ok(Line::Interrupted),
            Err(ReadlineError::Eof) => Ok(Line::End),
            Err(error) => Err(plain(error)),
        }
    }

    /// At once, so that a line outlives a program that is killed.
    fn remember(&mut self, line: &str) {
        let added = self.editor.add_history_entry(line);
        let saved = match (added, &self.history) {
            (Ok(true), Some(history)) => self.editor.append_history(history),
            (added, _) => added.map(drop),
        };
        if let Err(error) = saved {
            tracing::warn!(%error, "cannot keep the history");
            self.history = None;
        }
    }
}

/// The editor's errors say their cause twice.
fn plain(error: ReadlineError) -> InputError {
    InputError::Read(match error {
        ReadlineError::Io(error) => error,
        error => io::Error::other(error.to_string()),
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn history_is_kept_as_lines_come() {
        let folder = tempfile::tempdir().unwrap();
        let state = Some(folder.path().join("state"));
        let lines_of =
            |editor: &LineEditor| -> Vec<String> { editor.editor.history().iter().cloned().collect() };
        let mut first = LineEditor::new(state.clone()).unwrap();
        first.remember("one");
        first.remember("two\nlines");
        // The first is still open: nothing waits for its end.
        let mut second = LineEditor::new(state.clone()).unwrap();
        assert_eq!(lines_of(&second), ["one", "two\nlines"]);
        second.remember("three");
        first.remember("four");
        assert_eq!(lines_of(&LineEditor::new(state).unwrap()), ["one", "two\nlines", "three", "four"]);
    }
}
