//! Writes images as one OCI archive: blobs by digest, and an index that gives each its name.
//!
//! The format is the OCI image layout in a tar, which containerd reads, with docker's `manifest.json` beside it: docker
//! 20.10 reads nothing else, and podman takes no more than one image from a layout
//! (github.com/containers/podman/issues/4646). No container program is needed to write it, and the same contents give
//! the same bytes.

use std::collections::BTreeMap;
use std::fs::{File, Permissions};
use std::io::{Seek, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType};

use super::architecture::Architecture;
use super::layer::{Layer, append_file, header};
use crate::download::hex;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// One layer, and how a container of it starts.
#[derive(Clone, Debug)]
pub struct Image {
    pub architecture: Architecture,
    /// Such as `registry.local/ostro:dev`; Kubernetes asks for a host with a dot and a tag that is not `latest`.
    pub name: String,
    pub layer: Layer,
    /// Starts every container.
    pub entrypoint: Vec<String>,
    /// Follow the entrypoint where a container names none of its own.
    pub arguments: Vec<String>,
    /// `NAME=value`, beside PATH.
    pub environment: Vec<String>,
    /// `UID:GID`; root where it is empty.
    pub user: String,
}

/// Writes `images` to `path`, by way of a file beside it, so that a broken run leaves nothing. Images of one name are one
/// for several processors; of those docker's list has that of this machine.
///
/// # Errors
/// A file of a layer cannot be read, or the folder of `path` cannot be written.
pub fn write(path: &Path, images: &[Image]) -> Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let out = tempfile::Builder::new()
        .permissions(Permissions::from_mode(0o644))
        .tempfile_in(folder)
        .with_context(|| format!("cannot write in {}", folder.display()))?;
    let mut layout = Layout::of(images)?;
    let mut archive = Builder::new(out.as_file());
    for (name, text) in [LAYOUT_VERSION, ("index.json", &layout.index), ("manifest.json", &layout.of_docker)]
    {
        append_file(&mut archive, &mut header(0o644, 0), name, text.as_bytes())?;
    }
    for (path, blob) in &mut layout.blobs.by_path {
        let mut header = header(0o644, 0);
        header.set_entry_type(EntryType::Regular);
        header.set_size(blob.size);
        blob.file.rewind()?;
        archive.append_data(&mut header, path, &mut blob.file)?;
    }
    archive.finish()?;
    drop(archive);
    out.persist(path).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(())
}

/// Writes `images` into an empty folder, and returns the digest of each.
///
/// # Errors
/// A file of a layer cannot be read, or the folder cannot be written.
pub(super) fn write_layout(folder: &Path, images: &[Image]) -> Result<Vec<(Architecture, String)>> {
    let mut layout = Layout::of(images)?;
    std::fs::create_dir_all(folder.join("blobs/sha256"))?;
    for (name, text) in [LAYOUT_VERSION, ("index.json", &layout.index)] {
        std::fs::write(folder.join(name), text)?;
    }
    for (path, blob) in &mut layout.blobs.by_path {
        blob.file.rewind()?;
        std::io::copy(&mut blob.file, &mut File::create(folder.join(path))?)?;
    }
    Ok(layout.digests)
}

const LAYOUT_VERSION: (&str, &str) = ("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#);

/// What archives and folders hold.
struct Layout {
    /// JSON.
    index: String,
    /// JSON.
    of_docker: String,
    blobs: Blobs,
    /// Of each image's manifest.
    digests: Vec<(Architecture, String)>,
}

impl Layout {
    fn of(images: &[Image]) -> Result<Layout> {
        let mut blobs = Blobs { by_path: BTreeMap::new() };
        let (mut manifests, mut of_docker, mut digests) = (Vec::new(), Vec::new(), Vec::new());
        for (at, Image { name, .. }) in images.iter().enumerate() {
            if images[..at].iter().any(|before| before.name == *name) {
                continue;
            }
            let images: Vec<&Image> = images[at..].iter().filter(|image| image.name == *name).collect();
            let entries =
                images.iter().map(|image| image_into(&mut blobs, image)).collect::<Result<Vec<_>>>();
            let entries = entries.with_context(|| format!("image {name}"))?;
            digests.extend(
                images
                    .iter()
                    .zip(&entries)
                    .map(|(image, (manifest, _))| (image.architecture, digest_of(manifest).to_owned())),
            );
            let (manifest, docker) = one_of(&mut blobs, &images, entries)?;
            manifests.push(named(manifest, name)?);
            of_docker.push(docker);
        }
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}).to_string();
        Ok(Layout { index, of_docker: Value::from(of_docker).to_string(), blobs, digests })
    }
}

/// What a name stands for, as an entry of `index.json`, and of `manifest.json`: the only one of its images, or a list of
/// them all.
fn one_of(blobs: &mut Blobs, images: &[&Image], entries: Vec<(Value, Value)>) -> Result<(Value, Value)> {
    let native =
        images.iter().position(|image| image.architecture == Architecture::NATIVE).unwrap_or_default();
    let docker = entries[native].1.clone();
    let mut manifests: Vec<Value> = entries.into_iter().map(|(manifest, _)| manifest).collect();
    if let [only] = manifests.as_mut_slice() {
        return Ok((only.take(), docker));
    }
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests});
    Ok((blobs.put_json(INDEX, &index)?, docker))
}

fn named(mut entry: Value, name: &str) -> Result<Value> {
    let tag = name.rsplit_once(':').context("an image's name ends with a tag")?.1;
    entry["annotations"] =
        json!({"io.containerd.image.name": name, "org.opencontainers.image.ref.name": tag});
    Ok(entry)
}

/// Stores an image's three blobs and returns its descriptor, and its entry in `manifest.json`.
fn image_into(blobs: &mut Blobs, image: &Image) -> Result<(Value, Value)> {
    let layer = blobs.put(LAYER, |out| image.layer.write(out))?;
    let mut environment =
        vec!["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned()];
    environment.extend(image.environment.iter().cloned());
    let config = json!({
        "architecture": image.architecture.name(),
        "os": "linux",
        "config": {
            "Entrypoint": image.entrypoint, "Cmd": image.arguments,
            "Env": environment, "User": image.user, "WorkingDir": "/",
        },
        // The digest of the layer itself, which is not compressed.
        "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]},
        "history": [{"created_by": "ostro-e2e image build"}],
    });
    let config = blobs.put_json(CONFIG, &config)?;
    let of_docker =
        json!({"Config": path_of(&config), "RepoTags": [image.name], "Layers": [path_of(&layer)]});
    let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer]});
    let mut entry = blobs.put_json(MANIFEST, &manifest)?;
    entry["platform"] = json!({"architecture": image.architecture.name(), "os": "linux"});
    Ok((entry, of_docker))
}

/// Where the archive has the blob with this descriptor.
fn path_of(descriptor: &Value) -> String {
    format!("blobs/{}", digest_of(descriptor).replace(':', "/"))
}

fn digest_of(descriptor: &Value) -> &str {
    descriptor["digest"].as_str().expect("descriptors name a digest")
}

/// Blobs in temporary files: a layer may be larger than what should be in memory.
struct Blobs {
    by_path: BTreeMap<String, Blob>,
}

struct Blob {
    size: u64,
    file: File,
}

impl Blobs {
    /// Returns the blob's descriptor.
    fn put(&mut self, media_type: &str, write: impl FnOnce(&mut Hashing) -> Result<()>) -> Result<Value> {
        let mut out = Hashing { file: tempfile::tempfile()?, hash: Sha256::new(), size: 0 };
        write(&mut out)?;
        let digest = format!("sha256:{}", hex(&out.hash.finalize()));
        let descriptor = json!({"mediaType": media_type, "digest": digest, "size": out.size});
        self.by_path.insert(path_of(&descriptor), Blob { size: out.size, file: out.file });
        Ok(descriptor)
    }

    fn put_json(&mut self, media_type: &str, value: &Value) -> Result<Value> {
        self.put(media_type, |out| Ok(out.write_all(value.to_string().as_bytes())?))
    }
}

struct Hashing {
    file: File,
    hash: Sha256,
    size: u64,
}

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hash.update(&bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests;
