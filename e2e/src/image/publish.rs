//! `ostro-e2e image publish`: images to a registry, and signatures beside them.
//!
//! crane pushes, cosign signs, so that what others verify with is what wrote it. Nothing goes to public logs: who trusts
//! the key trusts the image. An image is pushed before it can be signed; Helm values are printed once all is verified.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use serde_json::{Value, json};
use tempfile::TempDir;
use time::OffsetDateTime;

use super::archive::write_layout;
use super::make::{Made, Programs};
use super::provenance::Sources;
use super::{Architecture, Image, write_sbom};
use crate::cluster;
use crate::process::run as run_command;

#[derive(Args, Debug)]
pub struct Publish {
    /// A registry and a path in it; the images are REGISTRY/PATH/ostro and REGISTRY/PATH/ostro-operator. Who may push is
    /// known from `docker login` or `crane auth login`.
    #[arg(long, value_name = "REGISTRY/PATH")]
    to: String,
    #[arg(long, default_value = env!("CARGO_PKG_VERSION"), value_parser = parse_tag)]
    tag: String,
    /// What cosign takes for a private key: a file of `cosign generate-key-pair`, whose password is COSIGN_PASSWORD, or
    /// the URI of a key service. Without it nothing is signed.
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    #[command(flatten)]
    programs: Programs,
}

/// An image, or one for several processors, that the registry has.
struct Pushed {
    name: &'static str,
    /// `REPOSITORY@DIGEST`.
    reference: String,
    /// Of each image's manifest.
    digests: Vec<(Architecture, String)>,
}

impl Pushed {
    fn repository_and_digest(&self) -> (&str, &str) {
        self.reference.split_once('@').unwrap_or((&self.reference, ""))
    }
}

/// # Errors
/// The key or the sources do not do, a program does not build, or the registry does not take an image.
pub(super) fn run(publish: &Publish) -> Result<()> {
    let repository = repository_of(&publish.to)?;
    // Before minutes of building.
    let sources = match (&publish.key, publish.programs.are_given()) {
        (Some(_), false) => Some(Sources::read()?),
        (Some(_), true) => {
            eprintln!("no provenance: who built the programs that are given is not known here");
            None
        }
        (None, _) => None,
    };
    let tools = Tools { bin: cluster::ensure_signing()?, folder: TempDir::new()? };
    let signer = publish.key.as_deref().map(|key| Signer::new(&tools, key)).transpose()?;
    let started = OffsetDateTime::now_utc();
    let made = publish.programs.make(repository, &publish.tag)?;
    sources.as_ref().map(Sources::ensure_same).transpose()?;
    let mut all = Vec::new();
    for name in names(&made.all) {
        let of_name: Vec<&Made> = made.all.iter().filter(|one| one.name == name).collect();
        let pushed = tools.push(name, &of_name)?;
        if let Some(signer) = &signer {
            for (one, (architecture, digest)) in of_name.iter().zip(&pushed.digests) {
                let image = format!("{}@{digest}", pushed.repository_and_digest().0);
                let sources = sources.as_ref();
                let provenance = sources.map(|sources| sources.provenance(name, *architecture, started));
                signer.describe(&image, one, provenance.transpose()?)?;
            }
            signer.sign(&pushed.reference)?;
        }
        all.push(pushed);
    }
    if signer.is_none() {
        eprintln!("not signed: --key names no key");
    }
    print!("{}", helm_values(&all)?);
    Ok(())
}

/// Without a slash at its end.
fn repository_of(to: &str) -> Result<&str> {
    if let Some((scheme, rest)) = to.split_once("://") {
        bail!("--to: a registry and a path such as {rest}, without {scheme}://");
    }
    let to = to.trim_end_matches('/');
    let (registry, path) = to.split_once('/').unwrap_or((to, ""));
    let is_of_path = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-./".contains(c);
    ensure!(!registry.is_empty() && !to.contains(['@', ' ']), "--to: {to:?} is no registry and path");
    ensure!(
        path.chars().all(is_of_path),
        "--to: {path:?} has what is not of a-z, 0-9, '_', '-', '.' and '/'"
    );
    Ok(to)
}

fn parse_tag(text: &str) -> Result<String, String> {
    let is_of_tag = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    if text.is_empty() || text.len() > 128 || text.starts_with(['-', '.']) || !text.chars().all(is_of_tag) {
        return Err(
            "a tag is 1 to 128 of letters, digits, '_', '-' and '.', the first no '-' or '.'".to_owned()
        );
    }
    Ok(text.to_owned())
}

/// Each once, in the order of their making.
fn names(made: &[Made]) -> Vec<&'static str> {
    let mut names: Vec<&'static str> = Vec::new();
    for one in made {
        if !names.contains(&one.name) {
            names.push(one.name);
        }
    }
    names
}

/// For the chart, `helm install -f FILE`, which takes JSON too.
fn helm_values(all: &[Pushed]) -> Result<String> {
    let mut values = serde_json::Map::new();
    for pushed in all {
        let (repository, digest) = pushed.repository_and_digest();
        let field = if pushed.name == "ostro" { "daemonImage" } else { "image" };
        values.insert(field.to_owned(), json!({ "repository": repository, "digest": digest }));
    }
    Ok(serde_json::to_string_pretty(&values)? + "\n")
}

/// The programs that push and sign, and a folder for what they read.
struct Tools {
    bin: PathBuf,
    folder: TempDir,
}

impl Tools {
    fn command(&self, program: &str) -> Command {
        Command::new(self.bin.join(program))
    }

    fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    fn push(&self, name: &'static str, made: &[&Made]) -> Result<Pushed> {
        let images: Vec<Image> = made.iter().map(|one| one.image.clone()).collect();
        let target = images.first().context("there is an image")?.name.clone();
        let layout = self.folder.path().join(name);
        let digests = write_layout(&layout, &images)?;
        eprintln!("pushing {target}");
        let pushed =
            stdout_of(self.command("crane").arg("push").arg(layout).arg(&target)).with_context(|| {
                format!("cannot push {target}; where its registry asks who pushes: docker login")
            })?;
        let reference = pushed.trim().to_owned();
        Ok(Pushed { name, reference, digests })
    }
}

/// What a program prints; what it complains of is shown as it comes.
fn stdout_of(command: &mut Command) -> Result<String> {
    let output = command.stderr(Stdio::inherit()).output();
    let output = output.with_context(|| format!("cannot start {:?}", command.get_program()))?;
    ensure!(output.status.success(), "{command:?} failed with {}", output.status);
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

struct Signer<'a> {
    tools: &'a Tools,
    key: &'a str,
    /// The public half.
    public: PathBuf,
    /// Names no services: neither a log nor a clock of others.
    services: PathBuf,
}

impl<'a> Signer<'a> {
    /// # Errors
    /// The key cannot be read, or its password is wrong.
    fn new(tools: &'a Tools, key: &'a str) -> Result<Signer<'a>> {
        let public = stdout_of(tools.command("cosign").args(["public-key", "--key", key]))
            .with_context(|| format!("--key {key} is no private key that can be used"))?;
        let public = tools.write("cosign.pub", &public)?;
        let services = json!({ "mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json" });
        let services = tools.write("signing-config.json", &services.to_string())?;
        Ok(Signer { tools, key, public, services })
    }

    /// Also each of the images that it is a list of.
    fn sign(&self, reference: &str) -> Result<()> {
        run_command(self.cosign("sign").arg("--recursive").arg(reference))?;
        self.verify("verify", &[], reference)
    }

    /// By what it holds, and how it was made where that is known.
    fn describe(&self, image: &str, made: &Made, provenance: Option<Value>) -> Result<()> {
        self.attest(image, "cyclonedx", &write_sbom(self.tools.folder.path(), made)?)?;
        let Some(provenance) = provenance else { return Ok(()) };
        let file = self.tools.write("provenance.json", &provenance.to_string())?;
        self.attest(image, "slsaprovenance1", &file)
    }

    fn attest(&self, image: &str, kind: &str, predicate: &Path) -> Result<()> {
        run_command(self.cosign("attest").args(["--type", kind, "--predicate"]).arg(predicate).arg(image))?;
        self.verify("verify-attestation", &["--type", kind], image)
    }

    fn cosign(&self, what: &str) -> Command {
        let mut command = self.tools.command("cosign");
        command.args([what, "--yes", "--key", self.key, "--signing-config"]).arg(&self.services);
        command
    }

    /// As everybody can.
    fn verify(&self, how: &str, flags: &[&str], image: &str) -> Result<()> {
        let mut command = self.tools.command("cosign");
        command.arg(how).arg("--key").arg(&self.public).arg("--insecure-ignore-tlog").args(flags).arg(image);
        stdout_of(&mut command)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_registry_and_a_path() {
        assert_eq!(repository_of("ghcr.io/acme/").unwrap(), "ghcr.io/acme");
        assert_eq!(repository_of("localhost:5000").unwrap(), "localhost:5000");
        let error = repository_of("https://ghcr.io/acme").unwrap_err().to_string();
        assert!(error.contains("such as ghcr.io/acme, without https://"), "{error}");
        for wrong in ["", "/", "/acme", "ghcr.io/acme@sha256:0", "ghcr.io/Acme", "ghcr.io/acme:1"] {
            repository_of(wrong).unwrap_err();
        }
        parse_tag("v1.0_a-b").unwrap();
        for wrong in ["", "a:b", ".a", "a/b", "a b", &"a".repeat(129)] {
            parse_tag(wrong).unwrap_err();
        }
    }

    #[test]
    fn values_name_images_by_digest() {
        let pushed = |name, digest: &str| Pushed {
            name,
            reference: format!("localhost:5000/a/{name}@sha256:{digest}"),
            digests: Vec::new(),
        };
        let values = helm_values(&[pushed("ostro", "1"), pushed("ostro-operator", "2")]).unwrap();
        let values: Value = serde_json::from_str(&values).unwrap();
        assert_eq!(
            values,
            json!({
                "daemonImage": { "repository": "localhost:5000/a/ostro", "digest": "sha256:1" },
                "image": { "repository": "localhost:5000/a/ostro-operator", "digest": "sha256:2" },
            })
        );
    }
}
