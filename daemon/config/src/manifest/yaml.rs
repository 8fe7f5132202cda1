//! YAML to nodes, as Kubernetes' tools read it: the words of YAML 1.1 for true and false, its octal numbers, no name
//! twice. Bounded in depth, and in what aliases make of a file.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, Tag};
use serde_json::Value as Json;
use toml::Value;

use super::map_fields::{Fields, MERGE, MapFields};
use super::node::{Node, Tree};

/// Deeper files are not manifests.
const DEPTH_MAX: usize = 64;
/// That all anchors and aliases of a file may stand for, as each may stand for others.
const ALIASED_BYTES_MAX: usize = 16 << 20;

#[derive(Debug)]
pub(super) struct YamlError {
    pub(super) line: usize,
    pub(super) message: String,
    is_syntax: bool,
}

impl YamlError {
    fn new(line: usize, message: impl Into<String>) -> YamlError {
        YamlError { line, message: message.into(), is_syntax: false }
    }
}

/// A document of a file, and what of it readers do not agree on.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) node: Node,
    pub(super) odd: Option<YamlError>,
}

/// The documents of a file that are not empty. JSON has escapes that YAML has not.
pub(super) fn documents(text: &str) -> Result<Vec<Read>, YamlError> {
    match documents_of_yaml(text) {
        Err(error) if error.is_syntax && text.trim_start().starts_with('{') => {
            let objects = serde_json::Deserializer::from_str(text).into_iter::<Json>();
            let objects = objects.collect::<Result<Vec<_>, _>>().map_err(|_| error)?;
            Ok(objects.iter().map(|object| Read { node: Node::from_json(object), odd: None }).collect())
        }
        read => read,
    }
}

fn documents_of_yaml(text: &str) -> Result<Vec<Read>, YamlError> {
    let parser = Parser::new_from_str(text);
    let mut events = Events { parser, anchors: BTreeMap::new(), aliased_bytes: 0, odd: None };
    let mut documents = Vec::new();
    loop {
        match events.next()? {
            (Event::StreamEnd, _) => return Ok(documents),
            (Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd, _) => {}
            (event, span) => {
                let node = events.node(event, span, 0)?;
                let odd = events.odd.take();
                if !matches!(node.tree, Tree::Null) {
                    documents.push(Read { node, odd });
                }
            }
        }
    }
}

struct Events<'a> {
    parser: Parser<'a, saphyr_parser::StrInput<'a>>,
    /// By the parser's numbers; 0 is none.
    anchors: BTreeMap<usize, Node>,
    aliased_bytes: usize,
    /// The first of the document.
    odd: Option<YamlError>,
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
        if depth > DEPTH_MAX {
            return Err(YamlError::new(line, "is nested too deeply"));
        }
        let (anchor, tag) = match &event {
            Event::Scalar(_, _, anchor, tag)
            | Event::SequenceStart(anchor, tag)
            | Event::MappingStart(anchor, tag) => (*anchor, tag.clone()),
            _ => (0, None),
        };
        let is_text = self.is_text(line, tag.as_deref());
        let tree = match event {
            Event::Scalar(text, ..) if is_text => Tree::Scalar(Value::String(text.into_owned())),
            Event::Scalar(text, style, ..) => scalar(&text, style),
            Event::SequenceStart(..) => self.list(depth)?,
            Event::MappingStart(..) => self.map(depth)?,
            Event::Alias(anchor) => self.aliased(anchor, line, depth)?,
            _ => return Err(YamlError::new(line, "is not YAML: a value is missing")),
        };
        let node = Node { line: Some(line), tree };
        if anchor != 0 {
            self.count(&node, depth).map_err(|message| YamlError::new(line, message))?;
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    /// Whether a tag says so. Others are noted: what they make of a value is nobody's business here.
    fn is_text(&mut self, line: usize, tag: Option<&Tag>) -> bool {
        let Some(tag) = tag else { return false };
        let is_known = tag.is_yaml_core_schema() && ["str", "map", "seq"].contains(&tag.suffix.as_str());
        if !is_known {
            self.note(line, format!("has the tag {}, which is not supported", tag.suffix));
        }
        is_known && tag.suffix == "str"
    }

    /// What readers do not agree on, the first of a document.
    fn note(&mut self, line: usize, message: String) {
        self.odd.get_or_insert_with(|| YamlError::new(line, message));
    }

    fn aliased(&mut self, anchor: usize, line: usize, depth: usize) -> Result<Tree, YamlError> {
        let error = |message: &str| YamlError::new(line, message);
        let node = self.anchors.get(&anchor).cloned();
        let node = node.ok_or_else(|| error("has an alias within what it stands for"))?;
        self.count(&node, depth).map_err(|message| error(&message))?;
        Ok(node.tree)
    }

    /// What is kept once more.
    fn count(&mut self, node: &Node, depth: usize) -> Result<(), String> {
        let (bytes, levels) = node.size();
        self.aliased_bytes += bytes;
        match depth + levels > DEPTH_MAX || self.aliased_bytes > ALIASED_BYTES_MAX {
            true => Err("has anchors and aliases that make it too large".to_owned()),
            false => Ok(()),
        }
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
        let mut map = MapFields::default();
        loop {
            let (event, span) = self.next()?;
            let line = span.start.line();
            let error = |message: String| YamlError::new(line, message);
            match event {
                Event::MappingEnd => return Ok(Tree::Map(map.fields)),
                Event::Scalar(name, ScalarStyle::Plain, _, None) if name == MERGE => {
                    let maps = self.merged(depth)?;
                    map.merge(maps).map_err(error)?;
                }
                Event::Scalar(name, style, anchor, tag) => {
                    if anchor != 0 {
                        self.anchors.insert(anchor, Node { line: Some(line), tree: scalar(&name, style) });
                    }
                    let is_text = self.is_text(line, tag.as_deref());
                    if let Some(other) = read_otherwise(&name, style).filter(|_| !is_text) {
                        let hint = format!("YAML reads it as {other}: put it in quotes");
                        self.note(line, format!("has the key {name}, and {hint}"));
                    }
                    let (event, span) = self.next()?;
                    let node = self.node(event, span, depth + 1)?;
                    map.add(name.into_owned(), Node { line: Some(line), ..node }).map_err(error)?;
                }
                _ => return Err(YamlError::new(line, "has a key that is no text")),
            }
        }
    }

    /// What `<<` gives: a map, or several in a list that is written there.
    fn merged(&mut self, depth: usize) -> Result<Vec<Fields>, YamlError> {
        let (event, span) = self.next()?;
        let is_written = matches!(event, Event::SequenceStart(..));
        let node = self.node(event, span, depth + 1)?;
        let nodes = match node.tree {
            Tree::List(items) if is_written => items,
            tree => vec![Node { line: node.line, tree }],
        };
        let maps = nodes.into_iter().map(|node| match node.tree {
            Tree::Map(fields) => Ok(fields),
            _ => Err(YamlError::new(span.start.line(), format!("has {MERGE} with what is no map"))),
        });
        maps.collect()
    }
}

fn not_yaml(error: &ScanError) -> YamlError {
    let message = format!("is not YAML: {}", error.info());
    YamlError { line: error.marker().line(), message, is_syntax: true }
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

/// A key that YAML takes for no text, or for one that is written otherwise.
fn read_otherwise(name: &str, style: ScalarStyle) -> Option<String> {
    let read = match scalar(name, style) {
        Tree::Scalar(Value::String(_)) => return None,
        // As Go writes it.
        Tree::Scalar(Value::Float(number)) => return Some(number.to_string()),
        Tree::Scalar(value) => value.to_string(),
        _ => return Some("null".to_owned()),
    };
    (read != name).then_some(read)
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
