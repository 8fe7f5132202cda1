//! Texts of others where people read them, such as answers of a model and names on a hub: what would steer a terminal, or
//! show a text in another order than it has, is shown, as in `\u{1b}`.

#[path = "../../operator/src/terminal/visible.rs"]
mod visible;

use std::io::{self, IsTerminal, Stdout, Write};

use self::visible::{LAYOUT, visible};

/// All of it in one line.
pub(crate) fn line(text: &str) -> String {
    visible(text, &[])
}

/// Line ends and tabs stay.
pub(crate) fn lines(text: &str) -> String {
    visible(text, &LAYOUT)
}

/// A writer of whole texts, byte for byte where no terminal shows them.
pub(crate) enum Texts<W> {
    Shown(W),
    Plain(W),
}

impl Texts<Stdout> {
    pub(crate) fn stdout() -> Texts<Stdout> {
        let stdout = io::stdout();
        if stdout.is_terminal() { Texts::Shown(stdout) } else { Texts::Plain(stdout) }
    }
}

impl<W: Write> Write for Texts<W> {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        match self {
            Texts::Shown(output) => {
                output.write_all(lines(&String::from_utf8_lossy(text)).as_bytes())?;
                Ok(text.len())
            }
            Texts::Plain(output) => output.write(text),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Texts::Shown(output) | Texts::Plain(output) => output.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_cannot_steer_a_terminal() {
        let text = "a\u{1b}[31m\u{7}\u{9b}\u{202e}\r\n\té";
        let (mut shown, mut plain) = (Texts::Shown(Vec::new()), Texts::Plain(Vec::new()));
        shown.write_all(text.as_bytes()).unwrap();
        plain.write_all(text.as_bytes()).unwrap();
        let (Texts::Shown(shown) | Texts::Plain(shown)) = shown;
        let (Texts::Shown(plain) | Texts::Plain(plain)) = plain;
        assert_eq!(String::from_utf8(shown).unwrap(), "a\\u{1b}[31m\\u{7}\\u{9b}\\u{202e}\\r\n\té");
        assert_eq!(String::from_utf8(plain).unwrap(), text);
    }
}
