//! Bills of materials of the images' programs, as CycloneDX has them: which packages are compiled in, with licences and
//! checksums, and which libraries lie beside the program. The same sources give the same bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::architecture::Architecture;
use super::libraries::Library;
use super::programs;
use crate::download::hex;
use crate::process::cargo;

/// Of the package `name`, as `programs::build` builds it, with these libraries.
///
/// # Errors
/// `cargo` is missing or does not know the package, or a library cannot be read.
pub(super) fn of(name: &str, architecture: Architecture, libraries: &[Library]) -> Result<Value> {
    let metadata = metadata(name, architecture)?;
    let lock = metadata["workspace_root"].as_str().context("cargo names the workspace")?;
    let lock =
        std::fs::read_to_string(Path::new(lock).join("Cargo.lock")).context("cannot read Cargo.lock")?;
    let mut document = document(name, &metadata, &checksums(&lock)?)?;
    let files = document["components"].as_array_mut().context("there are components")?;
    for Library { source, inside } in libraries {
        let bytes = std::fs::read(source).with_context(|| format!("cannot read {}", source.display()))?;
        let hash = hex(&Sha256::digest(&bytes));
        files.push(json!({
            "type": "file", "name": inside.display().to_string(), "hashes": [{ "alg": "SHA-256", "content": hash }],
        }));
    }
    Ok(document)
}

fn metadata(name: &str, architecture: Architecture) -> Result<Value> {
    let platform = architecture.target();
    let mut command = cargo();
    command.args(["metadata", "--format-version", "1", "--locked", "--filter-platform", &platform]);
    // Features are of a package, which is named by its folder here.
    let folder = if name == "ostro" { "daemon" } else { "operator" };
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(folder).join("Cargo.toml");
    command.arg("--manifest-path").arg(manifest).args(programs::features(name));
    let output = command.output().context("cannot start cargo")?;
    ensure!(output.status.success(), "cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr));
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// By name and version.
type Checksums = BTreeMap<(String, String), String>;

fn checksums(lock: &str) -> Result<Checksums> {
    let lock: toml::Table = toml::from_str(lock).context("Cargo.lock cannot be read")?;
    let packages =
        lock.get("package").and_then(toml::Value::as_array).context("Cargo.lock has no packages")?;
    let text = |package: &toml::Value, field: &str| package.get(field)?.as_str().map(str::to_owned);
    let known = packages.iter().filter_map(|package| {
        Some(((text(package, "name")?, text(package, "version")?), text(package, "checksum")?))
    });
    Ok(known.collect())
}

fn document(name: &str, metadata: &Value, checksums: &Checksums) -> Result<Value> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let packages = list(&metadata["packages"]);
    let packages: BTreeMap<&str, &Value> =
        packages.iter().filter_map(|package| Some((package["id"].as_str()?, package))).collect();
    let nodes = list(&metadata["resolve"]["nodes"]);
    let edges: BTreeMap<&str, Vec<&str>> =
        nodes.iter().filter_map(|node| Some((node["id"].as_str()?, compiled_in(node)))).collect();
    let root = packages.iter().find(|(_, package)| package["name"] == name);
    let root = *root.with_context(|| format!("the workspace has no package {name}"))?.0;
    let mut reached = BTreeSet::from([root]);
    let mut waiting = vec![root];
    while let Some(id) = waiting.pop() {
        for next in edges.get(id).into_iter().flatten() {
            if reached.insert(next) {
                waiting.push(next);
            }
        }
    }
    let reference = |id: &str| purl(packages.get(id).copied().unwrap_or(&Value::Null));
    let others = reached.iter().filter(|id| **id != root).filter_map(|id| packages.get(id));
    let components: Vec<Value> = others.map(|package| component("library", package, checksums)).collect();
    let dependencies = reached.iter().map(|id| {
        let on: BTreeSet<String> = edges.get(id).into_iter().flatten().map(|id| reference(id)).collect();
        json!({ "ref": reference(id), "dependsOn": on })
    });
    Ok(json!({
        "bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1,
        "metadata": { "component": component("application", packages[root], checksums) },
        "components": components,
        "dependencies": dependencies.collect::<Vec<_>>(),
    }))
}

/// Not what only tests and build scripts use.
fn compiled_in(node: &Value) -> Vec<&str> {
    let is_compiled_in = |dependency: &&Value| {
        dependency["dep_kinds"]
            .as_array()
            .is_some_and(|kinds| kinds.iter().any(|kind| kind["kind"].is_null()))
    };
    let all = node["deps"].as_array().into_iter().flatten();
    all.filter(is_compiled_in).filter_map(|dependency| dependency["pkg"].as_str()).collect()
}

fn component(kind: &str, package: &Value, checksums: &Checksums) -> Value {
    let text = |field: &str| package[field].as_str().unwrap_or_default().to_owned();
    let (name, version) = (text("name"), text("version"));
    let mut component = json!({
        "type": kind, "bom-ref": purl(package), "name": name, "version": version, "purl": purl(package),
    });
    if let Some(license) = package["license"].as_str() {
        // Some write `/` where SPDX has OR.
        let expression = license.replace('/', " OR ");
        component["licenses"] = json!([{ "expression": expression }]);
    }
    if let Some(checksum) = checksums.get(&(name, version)) {
        component["hashes"] = json!([{ "alg": "SHA-256", "content": checksum }]);
    }
    component
}

fn purl(package: &Value) -> String {
    let text = |field: &str| package[field].as_str().unwrap_or_default();
    format!("pkg:cargo/{}@{}", text("name"), text("version").replace('+', "%2B"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(document: &Value) -> BTreeSet<&str> {
        document["components"].as_array().unwrap().iter().filter_map(|one| one["name"].as_str()).collect()
    }

    #[test]
    fn a_bill_has_what_is_compiled_in_and_nothing_else() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let libraries = [Library { source: file.path().to_owned(), inside: "/lib/x.so".into() }];
        let bill = of("ostro-operator", Architecture::NATIVE, &libraries).unwrap();
        let names = names(&bill);
        for name in ["kube", "tokio", "ostro-crds", "/lib/x.so"] {
            assert!(names.contains(name), "{name}");
        }
        // Of tests, and of the other program.
        for name in ["mlua", "proptest", "ostro-engine", "ostro-operator"] {
            assert!(!names.contains(name), "{name}");
        }
        assert_eq!(
            bill["metadata"]["component"]["purl"],
            concat!("pkg:cargo/ostro-operator@", env!("CARGO_PKG_VERSION"))
        );
        let tokio = bill["components"].as_array().unwrap().iter().find(|one| one["name"] == "tokio").unwrap();
        assert_eq!(tokio["licenses"], json!([{ "expression": "MIT" }]));
        assert_eq!(tokio["hashes"][0]["content"].as_str().unwrap().len(), 64);
        assert_eq!(of("ostro-operator", Architecture::NATIVE, &libraries).unwrap(), bill);
    }

    #[test]
    fn every_dependency_of_a_bill_is_one_of_its_components() {
        let bill = of("ostro", Architecture::Arm64, &[]).unwrap();
        assert!(names(&bill).contains("ostro-kernels"));
        let references: BTreeSet<&str> = bill["components"]
            .as_array()
            .unwrap()
            .iter()
            .chain([&bill["metadata"]["component"]])
            .map(|one| one["bom-ref"].as_str().unwrap())
            .collect();
        for dependency in bill["dependencies"].as_array().unwrap() {
            assert!(references.contains(dependency["ref"].as_str().unwrap()), "{dependency}");
            for on in dependency["dependsOn"].as_array().unwrap() {
                assert!(references.contains(on.as_str().unwrap()), "{dependency}");
            }
        }
    }
}
