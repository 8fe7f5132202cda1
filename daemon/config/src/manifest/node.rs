//! The values of a manifest, each with its line.

use serde_json::Value as Json;
use toml::Value;

/// Whole numbers below are exact as floats.
const EXACT_MAX: f64 = (1u64 << 53) as f64;

#[derive(Clone, Debug)]
pub(super) struct Node {
    /// From 1; `None` where the object came from no file.
    pub(super) line: Option<usize>,
    pub(super) tree: Tree,
}

#[derive(Clone, Debug)]
pub(super) enum Tree {
    Null,
    Scalar(Value),
    List(Vec<Node>),
    /// In the order of the file, no name twice.
    Map(Vec<(String, Node)>),
}

impl Node {
    pub(super) fn from_json(json: &Json) -> Node {
        let tree = match json {
            Json::Null => Tree::Null,
            Json::Bool(value) => Tree::Scalar(Value::Boolean(*value)),
            Json::Number(number) => Tree::Scalar(match (number.as_i64(), number.as_f64()) {
                (Some(whole), _) => Value::Integer(whole),
                (None, number) => Value::Float(number.unwrap_or(f64::INFINITY)),
            }),
            Json::String(text) => Tree::Scalar(Value::String(text.clone())),
            Json::Array(items) => Tree::List(items.iter().map(Node::from_json).collect()),
            Json::Object(fields) => {
                Tree::Map(fields.iter().map(|(name, value)| (name.clone(), Node::from_json(value))).collect())
            }
        };
        Node { line: None, tree }
    }

    /// Whole numbers as such, however they were written.
    pub(super) fn to_json(&self) -> Json {
        match &self.tree {
            Tree::Null => Json::Null,
            Tree::Scalar(Value::Boolean(value)) => (*value).into(),
            Tree::Scalar(Value::Integer(whole)) => (*whole).into(),
            Tree::Scalar(Value::Float(number)) if number.fract() == 0.0 && number.abs() < EXACT_MAX => {
                (*number as i64).into()
            }
            Tree::Scalar(Value::Float(number)) => (*number).into(),
            Tree::Scalar(Value::String(text)) => text.as_str().into(),
            Tree::Scalar(other) => other.to_string().into(),
            Tree::List(items) => items.iter().map(Node::to_json).collect(),
            Tree::Map(fields) => {
                Json::Object(fields.iter().map(|(name, node)| (name.clone(), node.to_json())).collect())
            }
        }
    }

    pub(super) fn field(&self, name: &str) -> Option<&Node> {
        match &self.tree {
            Tree::Map(fields) => fields.iter().find(|(field, _)| field == name).map(|(_, node)| node),
            _ => None,
        }
    }

    pub(super) fn text(&self) -> Option<&str> {
        match &self.tree {
            Tree::Scalar(Value::String(text)) => Some(text),
            _ => None,
        }
    }

    /// Some bytes that it takes, and levels of nodes in it.
    pub(super) fn size(&self) -> (usize, usize) {
        const NODE_BYTES: usize = 64;
        let of = |nodes: &mut dyn Iterator<Item = (usize, &Node)>| {
            nodes.fold((NODE_BYTES, 1), |(bytes, levels), (name, node)| {
                let (more, below) = node.size();
                (bytes + name + more, levels.max(below + 1))
            })
        };
        match &self.tree {
            Tree::List(items) => of(&mut items.iter().map(|item| (0, item))),
            Tree::Map(fields) => of(&mut fields.iter().map(|(name, node)| (name.len(), node))),
            Tree::Scalar(Value::String(text)) => (NODE_BYTES + text.len(), 1),
            Tree::Null | Tree::Scalar(_) => (NODE_BYTES, 1),
        }
    }

    /// For messages.
    pub(super) fn shown(&self) -> String {
        match &self.tree {
            Tree::Null => "null".to_owned(),
            Tree::Scalar(value) => value.to_string(),
            Tree::List(_) => "[…]".to_owned(),
            Tree::Map(_) => "{…}".to_owned(),
        }
    }
}
