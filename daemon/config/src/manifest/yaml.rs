//! YAML to nodes, as Kubernetes' tools read it: the words of YAML 1.1 for true and false, its octal numbers, no name
//! twice. Bounded in depth; aliases, which could grow without bound, are refused.

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span};
use toml::Value;

use super::node::{Node, Tree};

/// Deeper files are not manifests.
const DEPTH_MAX: usize = 64;

#[derive(Debug)]
pub(super) struct YamlError {
    pub(super) line: usize,
    pub(super) message: String,
}

/// The documents of a file that are not empty.
pub(super) fn documents(text: &str) -> Result<Vec<Node>, YamlError> {
    let mut events = Events { parser: Parser::new_from_str(text) };
    let mut documents = Vec::new();
    loop {
        match events.next()? {
            (Event::StreamEnd, _) => return Ok(documents),
            (Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd, _) => {}
            (event, span) => {
                let node = events.node(event, span, 0)?;
                if !matches!(node.tree, Tree::Null) {
                    documents.push(node);
                }
            }
        }
    }
}

struct Events<'a> {
    parser: Parser<'a, saphyr_parser::StrInput<'a>>,
}

impl<'a> Events<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Span), YamlError> {
        match self.parser.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => Err(not_yaml(&error)),
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<Node, YamlError> {
        let line = span.start.line();
        let error = |message: &str| Err(YamlError { line, message: message.to_owned() });
        if depth > DEPTH_MAX {
            return error("is nested too deeply");
        }
        let tree = match event {
            Event::Scalar(text, _, _, Some(tag)) if tag.is_yaml_core_schema() && tag.suffix == "str" => {
                Tree::Scalar(Value::String(text.into_owned()))
            }
            Event::Scalar(text, style, _, _) => scalar(&text, style),
            Event::SequenceStart(..) => self.list(depth)?,
            Event::MappingStart(..) => self.map(depth)?,
            Event::Alias(_) => return error("has a YAML alias (*name), which is not supported"),
            _ => return error("is not YAML: a value is missing"),
        };
        Ok(Node { line: Some(line), tree })
    }

    fn list(&mut self, depth: usize) -> Result<Tree, YamlError> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(Tree::List(items)),
                (event, span) => items.push(self.node(event, span, depth + 1)?),
            }
        }
    }

    fn map(&mut self, depth: usize) -> Result<Tree, YamlError> {
        let mut fields: Vec<(String, Node)> = Vec::new();
        loop {
            let (event, span) = self.next()?;
            let line = span.start.line();
            let name = match event {
                Event::MappingEnd => return Ok(Tree::Map(fields)),
                Event::Scalar(name, ..) => name.into_owned(),
                _ => return Err(YamlError { line, message: "has a key that is no text".to_owned() }),
            };
            if fields.iter().any(|(field, _)| *field == name) {
                return Err(YamlError { line, message: format!("has the key {name:?} twice") });
            }
            let (event, span) = self.next()?;
            let node = self.node(event, span, depth + 1)?;
            fields.push((name, Node { line: Some(line), ..node }));
        }
    }
}

fn not_yaml(error: &ScanError) -> YamlError {
    YamlError { line: error.marker().line(), message: format!("is not YAML: {}", error.info()) }
}

fn scalar(text: &str, style: ScalarStyle) -> Tree {
    if style != ScalarStyle::Plain {
        return Tree::Scalar(Value::String(text.to_owned()));
    }
    let value = match text {
        "" | "~" | "null" | "Null" | "NULL" => return Tree::Null,
        "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" | "y" | "Y" => true.into(),
        "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" | "n" | "N" => false.into(),
        text => number(text).unwrap_or_else(|| Value::String(text.to_owned())),
    };
    Tree::Scalar(value)
}

fn number(text: &str) -> Option<Value> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if !digits.starts_with(|first: char| first.is_ascii_digit() || first == '.') {
        return None;
    }
    let plain = text.replace('_', "");
    // A whole one that is too large stays a number, which no key takes.
    let number = || plain.parse().ok().filter(|number: &f64| number.is_finite()).map(Value::Float);
    whole(&plain).map(Value::Integer).or_else(number)
}

/// With the bases of Go, where `0644` is octal.
fn whole(text: &str) -> Option<i64> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let (base, digits) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &digits[2..]),
        [b'0', b'o' | b'O', ..] => (8, &digits[2..]),
        [b'0', b'b' | b'B', ..] => (2, &digits[2..]),
        [b'0', _, ..] => (8, &digits[1..]),
        _ => (10, digits),
    };
    let is_plain = digits.starts_with(|first: char| first.is_ascii_alphanumeric());
    i64::from_str_radix(&format!("{sign}{digits}"), base).ok().filter(|_| is_plain)
}
