//! Lines from a pipe or file: no editing, no history; Ctrl-C ends the program, as it ends other filters.

use std::io::{self, BufRead};

use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::command::is_open;
use super::input::{InputError, Line};

pub(crate) struct PipedLines {
    lines: Receiver<Result<String, InputError>>,
    interrupt: Signal,
}

impl PipedLines {
    /// Reads standard input ahead by a line, on a thread of its own, which ends with the program.
    pub(crate) fn new(runtime: &Runtime) -> io::Result<Self> {
        let _entered = runtime.enter();
        let interrupt = signal(SignalKind::interrupt())?;
        let (sender, lines) = channel(1);
        std::thread::Builder::new()
            .name("ostro-input".into())
            .spawn(move || read_texts(io::stdin().lock(), &sender))?;
        Ok(PipedLines { lines, interrupt })
    }

    pub(super) fn read(&mut self, runtime: &Runtime) -> Result<Line, InputError> {
        runtime.block_on(async {
            tokio::select! {
                biased;
                () = interrupted(&mut self.interrupt) => Ok(Line::Interrupted),
                line = self.lines.recv() => line.map_or(Ok(Line::End), |line| line.map(Line::Text)),
            }
        })
    }

    pub(super) async fn interrupted(&mut self) {
        interrupted(&mut self.interrupt).await;
    }
}

async fn interrupted(signal: &mut Signal) {
    if signal.recv().await.is_none() {
        std::future::pending::<()>().await;
    }
}

/// Sends each text, several lines where they belong together. What is open at the end is a text too.
fn read_texts(mut input: impl BufRead, texts: &Sender<Result<String, InputError>>) {
    let mut text = String::new();
    for number in 1.. {
        let line = read_line(&mut input, number);
        let ended = !matches!(line, Ok(Some(_)));
        match line {
            Ok(Some(line)) => text.push_str(&line),
            Ok(None) => {}
            Err(error) => {
                let _ = texts.blocking_send(Err(error));
                return;
            }
        }
        if is_open(&text) && !ended {
            text.push('\n');
        } else if (!ended || !text.is_empty()) && texts.blocking_send(Ok(std::mem::take(&mut text))).is_err()
        {
            return;
        }
        if ended {
            return;
        }
    }
}

/// A line without its end; `None` after the last one.
fn read_line(input: &mut impl BufRead, number: usize) -> Result<Option<String>, InputError> {
    let mut line = Vec::new();
    if input.read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    let line = String::from_utf8(line).map_err(|_| InputError::NotUtf8 { line: number })?;
    let line = line.strip_suffix('\n').map_or(line.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
    Ok(Some(line.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(input: &[u8], expected: &[Result<&str, &str>]) {
        let (sender, mut receiver) = channel(10);
        read_texts(input, &sender);
        drop(sender);
        let mut texts = Vec::new();
        while let Some(text) = receiver.blocking_recv() {
            texts.push(text.map_err(|error| error.to_string()));
        }
        let texts: Vec<_> = texts.iter().map(|text| text.as_deref().map_err(String::as_str)).collect();
        assert_eq!(texts, expected, "{}", String::from_utf8_lossy(input));
    }

    #[test]
    fn lines_that_belong_together_are_one_text() {
        check(b"one\r\n\ntwo\\\nthree\n", &[Ok("one"), Ok(""), Ok("two\\\nthree")]);
        check(b"\"\"\"\none\n\"\"\"\nlast", &[Ok("\"\"\"\none\n\"\"\""), Ok("last")]);
        check(b"", &[]);
    }

    #[test]
    fn open_text_at_the_end_is_not_lost() {
        check(b"\"\"\"\none\ntwo\n", &[Ok("\"\"\"\none\ntwo\n")]);
        check(b"one\\\n", &[Ok("one\\\n")]);
    }

    #[test]
    fn line_that_is_not_text_is_named() {
        check(b"one\n\xff\xfe\nthree\n", &[Ok("one"), Err("line 2 of the input is not UTF-8")]);
    }
}
