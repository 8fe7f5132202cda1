//! The commands of the chat: lines that begin with a slash.

/// What a line asks for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ChatCommand {
    Say(String),
    Help,
    Exit,
    Clear,
    /// `None` takes the system message away.
    System(Option<String>),
    Temperature(f32),
    /// `None` keeps all tokens.
    TopK(Option<u32>),
    TopP(f32),
    Nothing,
}

pub(crate) const HELP: &str = "\
/system TEXT      give the model instructions (no TEXT: take them away)
/temperature N    0 to 2; 0 always takes the likeliest token
/topk N           draw from the N likeliest tokens; 0 draws from all
/topp N           draw from the likeliest tokens that reach N together, more than 0 to 1
/clear            forget the conversation
/help             this list
/exit             end; Ctrl-D too
A line that ends with \\ goes on in the next one; so does all between two lines of \"\"\".
Ctrl-C stops an answer.";

pub(crate) fn parse(line: &str) -> Result<ChatCommand, String> {
    let line = line.trim();
    if line.is_empty() {
        return Ok(ChatCommand::Nothing);
    }
    if !line.starts_with('/') {
        return Ok(ChatCommand::Say(joined(line)));
    }
    let (name, argument) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let argument = argument.trim();
    match name {
        "/help" => Ok(ChatCommand::Help),
        "/exit" | "/quit" => Ok(ChatCommand::Exit),
        "/clear" => Ok(ChatCommand::Clear),
        "/system" => Ok(ChatCommand::System((!argument.is_empty()).then(|| joined(argument)))),
        "/temperature" => {
            number(name, argument, "from 0 to 2", |n| (0.0..=2.0).contains(&n)).map(ChatCommand::Temperature)
        }
        "/topp" => number(name, argument, "more than 0 and at most 1", |n| n > 0.0 && n <= 1.0)
            .map(ChatCommand::TopP),
        "/topk" => match argument.parse() {
            Ok(0) => Ok(ChatCommand::TopK(None)),
            Ok(k) => Ok(ChatCommand::TopK(Some(k))),
            Err(_) => Err(format!("/topk takes a whole number, not {argument:?}")),
        },
        name => Err(format!("unknown command {name}; /help lists them")),
    }
}

fn number(name: &str, argument: &str, allowed: &str, check: impl Fn(f32) -> bool) -> Result<f32, String> {
    let number = argument.parse().ok().filter(|number| check(*number));
    number.ok_or_else(|| format!("{name} takes a number {allowed}, not {argument:?}"))
}

/// Whether more lines belong to a text.
pub(crate) fn is_open(text: &str) -> bool {
    text.ends_with('\\') || text.matches("\"\"\"").count() % 2 == 1
}

/// The text without the marks that joined its lines; the last one may lack where the input ended.
fn joined(text: &str) -> String {
    match text.strip_prefix("\"\"\"") {
        // Nothing is to be escaped there: a backslash at a line's end may be a program's.
        Some(inner) => inner.strip_suffix("\"\"\"").unwrap_or(inner).trim_matches('\n').to_owned(),
        None => text.strip_suffix('\\').unwrap_or(text).replace("\\\n", "\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_commands_or_texts() {
        let say = |text: &str| Ok(ChatCommand::Say(text.to_owned()));
        let cases = [
            ("hello", say("hello")),
            ("  ", Ok(ChatCommand::Nothing)),
            ("/exit", Ok(ChatCommand::Exit)),
            ("/system be brief", Ok(ChatCommand::System(Some("be brief".to_owned())))),
            ("/system", Ok(ChatCommand::System(None))),
            ("/temperature 0.5", Ok(ChatCommand::Temperature(0.5))),
            ("/topk 0", Ok(ChatCommand::TopK(None))),
            ("/topk 5", Ok(ChatCommand::TopK(Some(5)))),
            ("/topp 1", Ok(ChatCommand::TopP(1.0))),
            ("one\\\ntwo", say("one\ntwo")),
            ("\"\"\"\none\n\ntwo\n\"\"\"", say("one\n\ntwo")),
            ("\"\"\"\none\n\ntwo\n", say("one\n\ntwo")),
            ("\"\"\"\na \\\n b\n\"\"\"", say("a \\\n b")),
            ("one\\\n", say("one")),
            ("he said \"no\"", say("he said \"no\"")),
        ];
        for (line, expected) in cases {
            assert_eq!(parse(line), expected, "{line}");
        }
    }

    #[test]
    fn wrong_commands_say_what_is_right() {
        let cases = [
            ("/temperature 3", "/temperature takes a number from 0 to 2, not \"3\""),
            ("/temperature NaN", "/temperature takes a number from 0 to 2, not \"NaN\""),
            ("/topp 0", "/topp takes a number more than 0 and at most 1, not \"0\""),
            ("/topk many", "/topk takes a whole number, not \"many\""),
            ("/tmp", "unknown command /tmp; /help lists them"),
        ];
        for (line, expected) in cases {
            assert_eq!(parse(line), Err(expected.to_owned()), "{line}");
        }
    }

    #[test]
    fn open_texts_ask_for_more_lines() {
        for (text, expected) in
            [("a\\", true), ("\"\"\"", true), ("\"\"\"\na\n\"\"\"", false), ("a", false), ("", false)]
        {
            assert_eq!(is_open(text), expected, "{text}");
        }
    }
}
