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

use super::layer::{Layer, append_file, header};
use crate::download::hex;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// One layer, and how a container of it starts.
#[derive(Clone, Debug)]
pub struct Image {
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

/// Writes `images` to `path`, by way of a file beside it, so that a broken run leaves nothing.
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
    let mut blobs = Blobs { by_path: BTreeMap::new() };
    let entries = images
        .iter()
        .map(|image| image_into(&mut blobs, image).with_context(|| format!("image {}", image.name)))
        .collect::<Result<Vec<_>>>()?;
    let (manifests, of_docker): (Vec<_>, Vec<_>) = entries.into_iter().unzip();
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests});
    let mut archive = Builder::new(out.as_file());
    append_file(&mut archive, &mut header(0o644, 0), "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    append_file(&mut archive, &mut header(0o644, 0), "index.json", index.to_string().as_bytes())?;
    let of_docker = Value::from(of_docker).to_string();
    append_file(&mut archive, &mut header(0o644, 0), "manifest.json", of_docker.as_bytes())?;
    for (path, blob) in &mut blobs.by_path {
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

/// Stores an image's three blobs and returns its entries in `index.json` and `manifest.json`.
fn image_into(blobs: &mut Blobs, image: &Image) -> Result<(Value, Value)> {
    let layer = blobs.put(LAYER, |out| image.layer.write(out))?;
    let mut environment =
        vec!["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned()];
    environment.extend(image.environment.iter().cloned());
    let config = json!({
        "architecture": architecture(),
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
    let tag = image.name.rsplit_once(':').context("an image's name ends with a tag")?.1;
    entry["platform"] = json!({"architecture": architecture(), "os": "linux"});
    entry["annotations"] =
        json!({"io.containerd.image.name": image.name, "org.opencontainers.image.ref.name": tag});
    Ok((entry, of_docker))
}

/// Where the archive has the blob with this descriptor.
fn path_of(descriptor: &Value) -> String {
    let digest = descriptor["digest"].as_str().expect("descriptors name a digest");
    format!("blobs/{}", digest.replace(':', "/"))
}

/// As Go and OCI call it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
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
