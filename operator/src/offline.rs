//! `crd`, `validate` and `render`: the operator's own code, without a cluster.

use std::io::{Read, Write};
use std::path::Path;

use anyhow::{Context, anyhow, bail};
use ostro_config::manifest::{KIND, Manifest};
use ostro_config::{Loaded, Problems};
use ostro_crds::{InferenceDeployment, conform, crd_json};
use serde::Serialize;

use crate::args::{DEFAULT_IMAGE, FileArgs, RenderArgs};
use crate::inference_deployment::build::{self, Defaults, Kept, Prefetch, Rendering, inputs_hash, prune_job};
use crate::terminal;

/// Larger files are not manifests.
const FILE_BYTES_MAX: u64 = 1 << 20;

pub(crate) fn crd() -> anyhow::Result<()> {
    print(&yaml(&crd_json())?)
}

pub(crate) fn validate(args: &FileArgs) -> anyhow::Result<()> {
    for (object, _) in read(&args.file, DEFAULT_IMAGE)? {
        let name = object.metadata.name.unwrap_or_default();
        print(&format!("{name} is valid\n"))?;
    }
    Ok(())
}

pub(crate) fn render(args: &RenderArgs) -> anyhow::Result<()> {
    let mut texts = Vec::new();
    for (mut object, rendering) in read(&args.input.file, &args.image)? {
        object.metadata.namespace.get_or_insert_with(|| args.namespace.clone());
        // The API server gives it; owner references name it.
        object.metadata.uid.get_or_insert_default();
        let kept = Kept { rendering, spec_hash: inputs_hash(&object.spec), number: 1 };
        let prefetch = Prefetch::before(&object, None, &kept);
        let jobs = prefetch.iter().flat_map(Prefetch::own).cloned().chain(prune_job(&object, &kept));
        for prepared in build::build(&object, &kept).into_iter().chain(jobs) {
            texts.push(yaml(&prepared.object)?);
        }
    }
    print(&texts.join("---\n"))
}

/// The objects of a manifest, and what pods would run; what does not hold of any of them tells its line, or object.
pub(crate) fn read(path: &Path, image: &str) -> anyhow::Result<Vec<(InferenceDeployment, Rendering)>> {
    let (name, text) = text(path)?;
    let objects = Manifest::all(&name, &text).map_err(|problems| anyhow!("{problems}"))?;
    let of = |object: &Manifest| match (object.name(), objects.len()) {
        (Some(own), 2..) => format!("{name}, {own}"),
        _ => name.clone(),
    };
    let (mut read, mut failed) = (Vec::new(), Vec::new());
    for object in &objects {
        match read_one(&of(object), object, image) {
            Ok(one) => read.push(one),
            Err(error) => failed.push(format!("{error:#}")),
        }
    }
    if !failed.is_empty() {
        bail!(failed.join("\n"));
    }
    Ok(read)
}

/// What the daemon finds, by line, and what the schema has against other fields.
fn together(file: &str, daemon: Option<Problems>, schema: Option<Problems>) -> String {
    let of = |problems: Option<Problems>| problems.map(|Problems(problems)| problems).unwrap_or_default();
    let daemon = of(daemon);
    let further = of(schema).into_iter().filter(|one| daemon.iter().all(|other| other.key != one.key));
    let further: Vec<String> = further.map(|problem| format!("{file}: {problem}")).collect();
    daemon.iter().map(ToString::to_string).chain(further).collect::<Vec<_>>().join("\n")
}

fn read_one(file: &str, object: &Manifest, image: &str) -> anyhow::Result<(InferenceDeployment, Rendering)> {
    let daemon = object.document().and_then(Loaded::from_document);
    // The types below forgive what the API server does not.
    let (daemon, object) = match (daemon, conform(object.json())) {
        (Ok(daemon), Ok(object)) => (daemon, object),
        (daemon, object) => bail!(together(file, daemon.err(), object.err())),
    };
    for warning in warnings(&daemon) {
        eprintln!("warning: {}", terminal::line(&warning));
    }
    let object: InferenceDeployment =
        serde_path_to_error::deserialize(object).with_context(|| format!("{file} is not an {KIND}"))?;
    if object.metadata.name.as_deref().is_none_or(str::is_empty) {
        bail!("{file}: metadata.name is missing");
    }
    let defaults = Defaults { image: image.to_owned() };
    let rendering = object.spec.validate().and_then(|valid| build::render(&object, &valid, &defaults));
    let rendering = rendering.map_err(|problems| anyhow!("{file}: {problems}"))?;
    Ok((object, rendering))
}

/// Of keys that are right, and that the daemon of this version refuses at its start; an image may have a later one.
fn warnings(daemon: &Loaded) -> Vec<String> {
    let problems = daemon.unsupported().err().map(|problems| problems.0).unwrap_or_default();
    let told = |problem| format!("{problem}: pods of ostro {} do not start", env!("CARGO_PKG_VERSION"));
    problems.iter().map(told).collect()
}

pub(crate) fn text(path: &Path) -> anyhow::Result<(String, String)> {
    let mut text = String::new();
    let (name, input): (String, Box<dyn Read>) = match path.to_str() {
        Some("-") => ("standard input".to_owned(), Box::new(std::io::stdin())),
        _ => {
            let name = path.display().to_string();
            let file = std::fs::File::open(path).with_context(|| format!("cannot read {name}"))?;
            (name, Box::new(file))
        }
    };
    input
        .take(FILE_BYTES_MAX + 1)
        .read_to_string(&mut text)
        .with_context(|| format!("cannot read {name}"))?;
    if text.len() as u64 > FILE_BYTES_MAX {
        bail!("{name} is larger than {FILE_BYTES_MAX} bytes");
    }
    Ok((name, text))
}

pub(crate) fn yaml(value: &impl Serialize) -> anyhow::Result<String> {
    serde_saphyr::to_string(value).context("cannot write YAML")
}

pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error).context("cannot write"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_no_daemon_has_yet_are_told_with_their_line() {
        let text = "apiVersion: inference.ostro.dev/v1alpha1\nkind: InferenceDeployment\n\
                    metadata: {name: m}\nspec:\n  models:\n  - modelId: a/b\n    arch: llama\n";
        let of = |text: &str| {
            let objects = Manifest::all("m.yaml", text).unwrap();
            warnings(&objects[0].document().and_then(Loaded::from_document).unwrap())
        };
        let told = of(text);
        assert!(told.len() == 1 && told[0].starts_with("m.yaml:7: "), "{told:?}");
        assert!(told[0].contains("is not supported by this build: pods of ostro "), "{told:?}");
        assert!(of(&text.replace("    arch: llama\n", "")).is_empty());
    }
}
