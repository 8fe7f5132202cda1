//! An `InferenceDeployment` as a document: the daemon's tables of its `spec`, their keys in snake case. The other
//! fields of a spec are Kubernetes' business: known by name, and skipped, but for a GPU that they ask for.

use std::sync::Arc;

use serde_json::{Map, Value as Json};
use toml::Value;

use crate::document::{Document, Naming, Written};
use crate::keys::{Key, Kind, join, keys, without_indices};
use crate::problem::{Place, Problem, Problems};
use crate::recase::{to_camel, to_snake};
use node::{Node, Tree};

mod gpu;
mod map_fields;
mod node;
mod yaml;

pub use gpu::is_nvidia_gpu;

pub const API_VERSION: &str = "inference.ostro.dev/v1alpha1";
pub const KIND: &str = "InferenceDeployment";

/// Fields of a spec that the daemon reads, in snake case.
pub const DAEMON_FIELDS: [&str; 7] =
    ["default_model_id", "global", "runtime", "server", "paged_attn", "sandbox", "models"];

/// Fields of a spec that only the operator reads.
pub const CLUSTER_FIELDS: [&str; 23] = [
    "replicas",
    "image",
    "imagePullPolicy",
    "imagePullSecrets",
    "resources",
    "nodeSelector",
    "tolerations",
    "affinity",
    "topologySpreadConstraints",
    "priorityClassName",
    "runtimeClassName",
    "serviceAccountName",
    "cache",
    "volumes",
    "huggingFaceToken",
    "env",
    "probes",
    "rollout",
    "disruptionBudget",
    "networkPolicy",
    "service",
    "monitoring",
    "podTemplatePatch",
];

/// An `InferenceDeployment` of a file.
#[derive(Clone, Debug)]
pub struct Manifest {
    file: Arc<str>,
    object: Node,
}

impl Manifest {
    /// All of a YAML (or JSON) file, those of a `List` too.
    ///
    /// # Errors
    /// The file is no YAML, has none, or has one of another version.
    pub fn all(name: &str, text: &str) -> Result<Vec<Manifest>, Problems> {
        let file: Arc<str> = name.into();
        let at = |line, key: &str, message: String| problem_at(&file, line, key, message);
        let documents = yaml::documents(text).map_err(|error| at(Some(error.line), "", error.message))?;
        let is_ours = |tree: &Node| tree.field("kind").and_then(Node::text) == Some(KIND);
        let mut ours = Vec::new();
        for document in documents {
            let found = ours.len();
            ours.extend(items(document.node).into_iter().filter(is_ours));
            if let Some(odd) = document.odd.filter(|_| ours.len() > found) {
                return Err(at(Some(odd.line), "", odd.message));
            }
        }
        if ours.is_empty() {
            return Err(at(None, "", format!("holds no object of kind {KIND}")));
        }
        for object in &ours {
            if object.field("apiVersion").and_then(Node::text) != Some(API_VERSION) {
                return Err(at(object.line, "apiVersion", format!("must be {API_VERSION}")));
            }
        }
        Ok(ours.into_iter().map(|object| Manifest { file: Arc::clone(&file), object }).collect())
    }

    /// The daemon's part of its spec; relative paths are meant from the file's folder.
    ///
    /// # Errors
    /// A field of it is unknown, or no such thing.
    pub fn document(&self) -> Result<Document, Problems> {
        let Some(spec) = self.object.field("spec") else {
            return Err(problem_at(&self.file, self.object.line, "spec", "is missing".to_owned()));
        };
        Document::of_spec(Some(Arc::clone(&self.file)), spec)
    }

    /// `metadata.name`.
    pub fn name(&self) -> Option<&str> {
        self.object.field("metadata")?.field("name")?.text()
    }

    /// All of it, as the JSON that kubectl makes of it.
    pub fn json(&self) -> Json {
        self.object.to_json()
    }
}

/// Of a list, else the object itself.
fn items(mut tree: Node) -> Vec<Node> {
    let is_list = tree.field("kind").and_then(Node::text).is_some_and(|kind| kind.ends_with("List"));
    let fields = match &mut tree.tree {
        Tree::Map(fields) if is_list => fields,
        _ => return vec![tree],
    };
    let items = fields.iter_mut().find(|(name, _)| name == "items");
    match items.map(|(_, items)| std::mem::replace(&mut items.tree, Tree::Null)) {
        Some(Tree::List(items)) => items,
        _ => Vec::new(),
    }
}

impl Document {
    /// Reads the one `InferenceDeployment` of a YAML (or JSON) file.
    pub fn parse_manifest(name: &str, text: &str) -> Result<Document, Problems> {
        match Manifest::all(name, text)?.as_slice() {
            [_, second, ..] => {
                let message = format!("holds a second {KIND}; one can be read");
                Err(problem_at(&second.file, second.object.line, "", message))
            }
            all => all[0].document(),
        }
    }

    /// The daemon's part of the `spec` of an object that came as JSON.
    pub fn from_spec(spec: &Map<String, Json>) -> Result<Document, Problems> {
        Document::of_spec(None, &Node::from_json(&Json::Object(spec.clone())))
    }

    fn of_spec(file: Option<Arc<str>>, spec: &Node) -> Result<Document, Problems> {
        let mut reader =
            Reader { document: Document::for_manifest(file.clone()), file, problems: Vec::new() };
        reader.document.asks_for_gpu = gpu::is_asked_for(spec);
        match &spec.tree {
            Tree::Map(fields) => {
                let ours = fields.iter().filter(|(name, node)| {
                    !CLUSTER_FIELDS.contains(&name.as_str()) && !matches!(node.tree, Tree::Null)
                });
                for (name, node) in ours {
                    reader.field(name, node);
                }
            }
            _ => reader.note_problem("", spec, "must be an object"),
        }
        match reader.problems.is_empty() {
            true => Ok(reader.document),
            false => Err(Problems(reader.problems)),
        }
    }
}

fn problem_at(file: &Arc<str>, line: Option<usize>, key: &str, message: String) -> Problems {
    let place = Place::File { name: Arc::clone(file), line };
    Problems(vec![Problem { place, key: key.to_owned(), value: None, message }])
}

struct Reader {
    document: Document,
    file: Option<Arc<str>>,
    problems: Vec<Problem>,
}

impl Reader {
    /// A field of the spec itself.
    fn field(&mut self, name: &str, node: &Node) {
        let snake = to_snake(name).filter(|snake| DAEMON_FIELDS.contains(&snake.as_str()));
        let Some(snake) = snake else {
            return self.note_problem(name, node, &unknown(name));
        };
        let value = self.value(&snake, node);
        self.document.root.insert(snake, value);
    }

    fn value(&mut self, path: &str, node: &Node) -> Value {
        let place = self.place(node.line);
        self.document.written.insert(path.to_owned(), Written { place, text: node.shown() });
        match &node.tree {
            Tree::Scalar(value) => value.clone(),
            // Inside a list; as a field it is as good as absent.
            Tree::Null => Value::Table(toml::Table::new()),
            Tree::List(items) => {
                let items = items.iter().enumerate();
                Value::Array(
                    items.map(|(index, item)| self.value(&format!("{path}[{index}]"), item)).collect(),
                )
            }
            Tree::Map(fields) => {
                let mut table = toml::Table::new();
                for (name, node) in fields.iter().filter(|(_, node)| !matches!(node.tree, Tree::Null)) {
                    // The checks tell of unknown keys; one in snake case must not pass for the right one.
                    let snake = match to_snake(name) {
                        Some(snake) => snake,
                        None => {
                            let near = to_camel(name);
                            let message = format!("is not a known key; did you mean {near}?");
                            self.note_problem(&join(path, name), node, &message);
                            continue;
                        }
                    };
                    let value = self.value(&join(path, &snake), node);
                    table.insert(snake, value);
                }
                Value::Table(table)
            }
        }
    }

    fn place(&self, line: Option<usize>) -> Place {
        match &self.file {
            Some(name) => Place::File { name: Arc::clone(name), line },
            None => Place::Default,
        }
    }

    /// `path` has the name that is wrong as it was written.
    fn note_problem(&mut self, path: &str, node: &Node, message: &str) {
        let key = match path.rsplit_once('.') {
            Some((table, name)) => format!("spec.{}.{name}", to_camel(table)),
            None if path.is_empty() => "spec".to_owned(),
            None => format!("spec.{path}"),
        };
        let place = self.place(node.line);
        self.problems.push(Problem { place, key, value: None, message: message.to_owned() });
    }
}

fn unknown(name: &str) -> String {
    let known = DAEMON_FIELDS.iter().map(|field| to_camel(field));
    let known: Vec<String> = known.chain(CLUSTER_FIELDS.iter().map(|field| (*field).to_owned())).collect();
    let near = |candidate: &String| strsim::jaro_winkler(candidate, name);
    let best = known.iter().max_by(|a, b| near(a).total_cmp(&near(b)));
    match best.filter(|best| near(best) > 0.8) {
        Some(best) => format!("is not a known field; did you mean {best}?"),
        None => format!("is not a known field; known here are {}", known.join(", ")),
    }
}

impl Naming {
    /// A key's path as the file names it.
    pub(crate) fn key(self, path: &str) -> String {
        match self {
            Naming::Toml => path.to_owned(),
            Naming::Manifest if path.is_empty() => "spec".to_owned(),
            Naming::Manifest => format!("spec.{}", to_camel(path)),
        }
    }

    /// A message that names keys, flags and tables as TOML has them.
    pub(crate) fn message(self, message: String) -> String {
        match self {
            Naming::Toml => message,
            Naming::Manifest => in_manifest(&message),
        }
    }
}

/// A rule's message for who has no command line.
pub fn without_flags(message: &str) -> String {
    // `paged_attn.context_len (--pa-context-len)`
    let message = message.replace(", or --model-id", "");
    message.split(' ').filter(|word| !word.starts_with("(--")).collect::<Vec<_>>().join(" ")
}

/// A rule's message in the words of a manifest. Also that of the rule in the CRD.
pub fn in_manifest(message: &str) -> String {
    let message = without_flags(message).replace("must be a table", "must be an object");
    let message = message.split(", written [").next().unwrap_or_default().replace("[[models]]", "models");
    let message = message.replace("command = ", "the command ").replace(" table;", " object;");
    message.split(' ').map(word_in_manifest).collect::<Vec<_>>().join(" ")
}

/// Keys and tables only: messages have users' names and words too.
fn word_in_manifest(word: &str) -> String {
    let name = without_indices(word.trim_matches(|character: char| !character.is_alphanumeric()));
    match !word.contains('"') && name.split('.').all(is_name) {
        true => to_camel(word),
        false => word.to_owned(),
    }
}

/// Whether a part of some key's path, or of a table in a list, has this name.
fn is_name(name: &str) -> bool {
    let is_in = |path: &str| path.split('.').any(|part| part == name);
    let is_of_list =
        |key: &Key| matches!(&key.kind, Kind::Tables(names) if names.iter().any(|of| of == name));
    keys().iter().any(|key| is_in(&key.path) || is_of_list(key))
}

#[cfg(test)]
mod tests;
