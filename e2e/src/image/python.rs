//! An image of this machine's Python with the packages of an environment, for clients that run in pods.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::libraries::{self, Library};
use super::make::{USER, base};
use super::{Architecture, Image};

/// Where an environment's packages go.
const PACKAGES: &str = "/packages";

/// What clients do not need, and what Python compiled: the image's times are zero, so it would not be taken.
const WITHOUT: [&str; 9] =
    ["__pycache__", "idlelib", "lib2to3", "pip", "setuptools", "site-packages", "test", "tests", "tkinter"];

/// The interpreter's program and the folders of its library and packages.
const QUESTION: &str = "import json, os, sys, sysconfig
paths = sysconfig.get_paths()
print(json.dumps([os.path.realpath(sys.executable), paths['stdlib'], paths['platlib']]))";

/// An image that starts the Python of an environment, with the files of `scripts` in `/scripts`.
///
/// # Errors
/// The interpreter does not start, or a file of it cannot be read.
pub fn with_python(name: &str, interpreter: &Path, scripts: &Path) -> Result<Image> {
    let [program, library, packages] = paths_of(interpreter)?;
    let mut layer = base()?;
    // Where they are here: by its own place the program finds its library.
    layer.copy(&program, &program.to_string_lossy())?;
    layer.copy_folder(&library, &library.to_string_lossy(), is_wanted)?;
    layer.copy_folder(&packages, PACKAGES, is_wanted)?;
    layer.copy_folder(scripts, "/scripts", is_wanted)?;
    let modules = layer.sources().filter(|path| path.extension() == Some("so".as_ref()));
    let modules: Vec<_> = modules.chain([program.as_path()]).map(Path::to_owned).collect();
    for module in modules {
        for Library { source, inside } in libraries::of(&module, Architecture::NATIVE)? {
            layer.copy(&source, &inside.to_string_lossy())?;
        }
    }
    Ok(Image {
        architecture: Architecture::NATIVE,
        name: name.to_owned(),
        layer,
        entrypoint: vec![program.to_string_lossy().into_owned()],
        arguments: Vec::new(),
        environment: vec![format!("PYTHONPATH={PACKAGES}"), "HOME=/home/nonroot".to_owned()],
        user: format!("{USER}:{USER}"),
    })
}

fn is_wanted(name: &str) -> bool {
    !WITHOUT.contains(&name) && !name.ends_with(".a")
}

fn paths_of(interpreter: &Path) -> Result<[PathBuf; 3]> {
    let output = Command::new(interpreter).args(["-c", QUESTION]).output();
    let output = output.with_context(|| format!("cannot start {}", interpreter.display()))?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).context("Python tells three paths")
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    #[test]
    fn it_has_the_interpreter_its_library_and_the_scripts() {
        let scripts = TempDir::new().unwrap();
        std::fs::write(scripts.path().join("client.py"), "").unwrap();
        // Without the packages of this machine.
        let environment = TempDir::new().unwrap();
        let made =
            Command::new("python3").args(["-m", "venv", "--without-pip"]).arg(environment.path()).status();
        assert!(made.unwrap().success());
        let interpreter = environment.path().join("bin/python");
        let image = with_python("registry.local/python:1", &interpreter, scripts.path()).unwrap();
        let has = |end: &str| image.layer.sources().any(|path| path.to_string_lossy().ends_with(end));
        assert!(has("/client.py") && has("/encodings/__init__.py") && has("/libc.so.6"));
        assert!(has(&image.entrypoint[0]) && !has(".pyc"));
    }
}
