//! The daemon's TOML file and the `InferenceDeployment` that asks for the same: either into the other. The daemon's
//! tables are kept as they were written; what the other form cannot hold is told.

use std::path::Path;

use anyhow::{Result, anyhow, bail};
use ostro_config::keys::{Kind, key};
use ostro_config::manifest::{API_VERSION, CLUSTER_FIELDS, KIND, without_flags};
use ostro_config::{Command, Document, Loaded, Place, Problems, to_camel};
use ostro_crds::{InferenceDeploymentSpec, conform};
use serde_json::{Map, Value, json};
use toml_parser::Source;
use toml_parser::lexer::TokenKind;

use super::args::{ConvertArgs, Format};
use crate::args::service_name;
use crate::inference_deployment::build::looks_like_path;
use crate::{offline, terminal};

/// A converted file, and what it does not hold.
#[derive(Debug)]
struct Converted {
    text: String,
    notes: Vec<String>,
}

pub(super) fn run(args: &ConvertArgs) -> Result<()> {
    let (name, text) = offline::text(&args.file)?;
    let converted = match args.to.unwrap_or_else(|| other_format(&args.file, &text)) {
        Format::Cr => to_manifest(&name, &text, &object_name(args)?)?,
        Format::Toml if args.name.is_some() => {
            bail!("--name is an InferenceDeployment's; the TOML file has none")
        }
        Format::Toml => to_toml(&name, &text)?,
    };
    for note in converted.notes {
        eprintln!("note: {}", terminal::line(&note));
    }
    offline::print(&converted.text)
}

/// By the file's name, else by what it holds: a manifest is never TOML.
fn other_format(path: &Path, text: &str) -> Format {
    let is_toml = match path.extension().and_then(|extension| extension.to_str()) {
        Some("toml") => true,
        Some("yaml" | "yml" | "json") => false,
        _ => Document::parse("", text).is_ok(),
    };
    if is_toml { Format::Cr } else { Format::Toml }
}

fn object_name(args: &ConvertArgs) -> Result<String> {
    match &args.name {
        Some(name) => Ok(name.clone()),
        None => {
            let name = args.file.file_stem().unwrap_or_default().to_string_lossy();
            service_name(&name)
                .map_err(|rule| anyhow!("{name:?} is no name for an object, give one by --name: {rule}"))
        }
    }
}

fn to_manifest(file: &str, text: &str, name: &str) -> Result<Converted> {
    // Read twice: problems name the file, and a path without a folder leaves the values' own paths as they are.
    let checked = Loaded::from_toml(file, text).map_err(unflagged)?;
    if checked.config.command != Command::Serve {
        bail!("{}", checked.problem("command", "is for a terminal, and pods serve"));
    }
    let loaded = Loaded::from_toml("", text).map_err(unflagged)?;
    let mut fields = loaded.written_spec();
    fields.remove("command");
    let spec: InferenceDeploymentSpec = serde_path_to_error::deserialize(Value::Object(fields))?;
    if let Err(problems) = spec.validate() {
        bail!("{file}, as an {KIND}: {problems}");
    }
    let object =
        json!({ "apiVersion": API_VERSION, "kind": KIND, "metadata": { "name": name }, "spec": spec });
    // The types forgive what the API server does not.
    if let Err(problems) = conform(object.clone()) {
        bail!("{file}, as an {KIND}: {problems}");
    }
    let has_comments = Source::new(text).lex().any(|token| token.kind() == TokenKind::Comment);
    let mut notes: Vec<String> = has_comments.then(comments_note).into_iter().collect();
    notes.extend(relative_paths(&loaded).into_iter().map(|path| {
        format!("spec.{path} is a relative path: pods take it from /etc/ostro, not from the folder of {file}")
    }));
    Ok(Converted { text: offline::yaml(&object)?, notes })
}

/// The daemon's flags are not this command's.
fn unflagged(Problems(mut problems): Problems) -> anyhow::Error {
    for problem in &mut problems {
        problem.message = without_flags(&problem.message);
    }
    anyhow!("{}", Problems(problems))
}

fn to_toml(file: &str, text: &str) -> Result<Converted> {
    let load = |name: &str| Document::parse_manifest(name, text).and_then(Loaded::from_document);
    load(file).map_err(|problems| anyhow!("{problems}"))?;
    let loaded = load("").map_err(|problems| anyhow!("{problems}"))?;
    let objects: Vec<Value> = serde_saphyr::from_multiple(text)?;
    let has_comments = text.lines().any(|line| line.trim_start().starts_with('#') || line.contains(" #"));
    let mut notes: Vec<String> = has_comments.then(comments_note).into_iter().collect();
    let left_out: Vec<String> =
        objects.iter().filter(|object| object["kind"] == KIND).flat_map(cluster_fields).collect();
    if !left_out.is_empty() {
        notes.push(format!("the TOML file cannot hold {}", left_out.join(", ")));
    }
    if objects.iter().any(|object| object["kind"] != KIND && !object.is_null()) {
        notes.push(format!("objects that are no {KIND} are left out"));
    }
    Ok(Converted { text: loaded.written_toml(), notes })
}

/// What only Kubernetes has, by path.
fn cluster_fields(object: &Value) -> Vec<String> {
    let fields = |value: &Value| value.as_object().cloned().unwrap_or_else(Map::new);
    let metadata = fields(&object["metadata"]).into_iter().map(|(name, _)| format!("metadata.{name}"));
    let spec = fields(&object["spec"]).into_iter().map(|(name, _)| name);
    let spec = spec.filter(|name| CLUSTER_FIELDS.contains(&name.as_str())).map(|name| format!("spec.{name}"));
    let status = object.get("status").map(|_| "status".to_owned());
    metadata.chain(spec).chain(status).collect()
}

fn comments_note() -> String {
    "comments are not converted".to_owned()
}

/// Keys of paths that are meant from the file's folder, as a manifest names them.
fn relative_paths(loaded: &Loaded) -> Vec<String> {
    let entries = loaded.effective().into_iter().filter(|entry| !matches!(entry.place, Place::Default));
    let paths = entries.filter(|entry| {
        let text = entry.value.as_ref().and_then(|value| value.as_str()).unwrap_or_default();
        let Some(key) = key(&entry.path) else { return false };
        let is_path = key.kind == Kind::Path || (key.path == "models.model_id" && looks_like_path(text));
        is_path && Path::new(text).is_relative()
    });
    paths.map(|entry| to_camel(&entry.path)).collect()
}

#[cfg(test)]
mod tests;
