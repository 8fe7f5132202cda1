use std::io::Read;

use super::*;
use tempfile::TempDir;

fn image(program: &Path) -> Image {
    let mut layer = Layer::new();
    layer.copy(program, "/usr/local/bin/program").unwrap();
    layer.text("/etc/passwd", "nonroot:x:65532:65532::/home/nonroot:/bin/false\n");
    layer.folder_of("/home/nonroot", 65532);
    layer.link("/bin/sh", "/usr/local/bin/program");
    Image {
        architecture: Architecture::NATIVE,
        name: "registry.local/program:dev".to_owned(),
        layer,
        entrypoint: vec!["/usr/local/bin/program".to_owned()],
        arguments: vec!["serve".to_owned()],
        environment: vec!["HOME=/home/nonroot".to_owned()],
        user: "65532:65532".to_owned(),
    }
}

/// A folder with an executable file.
fn program() -> (TempDir, std::path::PathBuf) {
    let folder = TempDir::new().unwrap();
    let program = folder.path().join("program");
    std::fs::write(&program, b"\x7fELF and so on").unwrap();
    std::fs::set_permissions(&program, Permissions::from_mode(0o700)).unwrap();
    (folder, program)
}

fn files_of(archive: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut archive = tar::Archive::new(archive);
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        (entry.path().unwrap().to_string_lossy().into_owned(), bytes)
    });
    entries.collect()
}

fn blob<'a>(files: &'a BTreeMap<String, Vec<u8>>, descriptor: &Value) -> &'a [u8] {
    let digest = descriptor["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
    let bytes = &files[&format!("blobs/sha256/{digest}")];
    let found: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!((found.as_str(), bytes.len() as u64), (digest, descriptor["size"].as_u64().unwrap()));
    bytes
}

fn parse(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

#[test]
fn the_same_contents_give_the_same_bytes() {
    let (folder, program) = program();
    let (first, second) = (folder.path().join("1.tar"), folder.path().join("2.tar"));
    write(&first, &[image(&program)]).unwrap();
    // A copy of another time and owner mode bits that do not count.
    let copy = folder.path().join("copy");
    std::fs::write(&copy, std::fs::read(&program).unwrap()).unwrap();
    std::fs::set_permissions(&copy, Permissions::from_mode(0o755)).unwrap();
    write(&second, &[image(&copy)]).unwrap();
    assert_eq!(std::fs::read(&first).unwrap(), std::fs::read(&second).unwrap());
    assert_eq!(first.metadata().unwrap().permissions().mode() & 0o777, 0o644);
    std::fs::write(&copy, b"another program").unwrap();
    write(&second, &[image(&copy)]).unwrap();
    assert_ne!(std::fs::read(&first).unwrap(), std::fs::read(&second).unwrap());
}

#[test]
fn an_image_says_who_runs_what() {
    let (folder, program) = program();
    let path = folder.path().join("image.tar");
    write(&path, &[image(&program)]).unwrap();
    let files = files_of(&std::fs::read(path).unwrap());
    assert_eq!(parse(&files["oci-layout"])["imageLayoutVersion"], "1.0.0");
    let index = parse(&files["index.json"]);
    let entry = &index["manifests"][0];
    assert_eq!(entry["annotations"]["io.containerd.image.name"], "registry.local/program:dev");
    assert_eq!(entry["annotations"]["org.opencontainers.image.ref.name"], "dev");
    let manifest = parse(blob(&files, entry));
    let config = parse(blob(&files, &manifest["config"]));
    assert_eq!(config["config"]["User"], "65532:65532");
    assert_eq!(config["config"]["Entrypoint"], json!(["/usr/local/bin/program"]));
    assert_eq!(config["config"]["Cmd"], json!(["serve"]));
    assert_eq!(config["config"]["Env"][1], "HOME=/home/nonroot");
    assert_eq!(config["rootfs"]["diff_ids"][0], manifest["layers"][0]["digest"]);
}

/// By `manifest.json`: the podman and docker of Debian 12 refuse two images in a layout.
#[test]
fn podman_and_docker_find_both_images() {
    let (folder, program) = program();
    let path = folder.path().join("images.tar");
    let other = Image { name: "registry.local/other:dev".to_owned(), ..image(&program) };
    write(&path, &[image(&program), other]).unwrap();
    let files = files_of(&std::fs::read(path).unwrap());
    let entries = parse(&files["manifest.json"]);
    for (at, name) in ["registry.local/program:dev", "registry.local/other:dev"].into_iter().enumerate() {
        let (entry, of_index) = (&entries[at], &parse(&files["index.json"])["manifests"][at]);
        let manifest = parse(blob(&files, of_index));
        assert_eq!(entry["RepoTags"], json!([name]));
        let bytes = |path: &Value| &files[path.as_str().unwrap()];
        assert_eq!(bytes(&entry["Config"]), blob(&files, &manifest["config"]));
        assert_eq!(bytes(&entry["Layers"][0]), blob(&files, &manifest["layers"][0]));
    }
}

#[test]
fn a_layer_unpacks_to_what_was_put_in() {
    let (folder, program) = program();
    let path = folder.path().join("image.tar");
    write(&path, &[image(&program)]).unwrap();
    let files = files_of(&std::fs::read(path).unwrap());
    let manifest = parse(blob(&files, &parse(&files["index.json"])["manifests"][0]));
    let layer = blob(&files, &manifest["layers"][0]);
    let root = folder.path().join("root");
    tar::Archive::new(layer).unpack(&root).unwrap();
    assert_eq!(std::fs::read(root.join("usr/local/bin/program")).unwrap(), std::fs::read(&program).unwrap());
    assert_eq!(std::fs::read_link(root.join("bin/sh")).unwrap(), Path::new("/usr/local/bin/program"));
    let mut archive = tar::Archive::new(layer);
    let heads: BTreeMap<String, (u32, u64)> = archive
        .entries()
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let header = entry.header();
            let path = entry.path().unwrap().to_string_lossy().into_owned();
            assert_eq!(header.mtime().unwrap(), 0, "{path}");
            (path, (header.mode().unwrap(), header.uid().unwrap()))
        })
        .collect();
    assert_eq!(heads["usr/local/bin/program"], (0o755, 0));
    assert_eq!(heads["home/nonroot/"], (0o755, 65532));
    assert_eq!(heads["tmp/"], (0o1777, 0));
    assert_eq!(heads["etc/passwd"], (0o644, 0));
}

#[test]
fn two_images_share_an_archive_and_equal_blobs() {
    let (folder, program) = program();
    let path = folder.path().join("images.tar");
    let other = Image { name: "registry.local/other:dev".to_owned(), ..image(&program) };
    write(&path, &[image(&program), other]).unwrap();
    let files = files_of(&std::fs::read(path).unwrap());
    assert_eq!(parse(&files["index.json"])["manifests"].as_array().unwrap().len(), 2);
    // The two differ in nothing but the name, which stands in the index.
    assert_eq!(files.keys().filter(|path| path.starts_with("blobs/")).count(), 3);
}

#[test]
fn one_name_stands_for_images_of_several_processors() {
    let (folder, program) = program();
    let path = folder.path().join("images.tar");
    let of = |architecture| Image { architecture, ..image(&program) };
    write(&path, &[of(Architecture::Arm64), of(Architecture::Amd64)]).unwrap();
    let files = files_of(&std::fs::read(path).unwrap());
    let index = parse(&files["index.json"]);
    let entry = &index["manifests"][0];
    assert_eq!(index["manifests"].as_array().unwrap().len(), 1);
    assert_eq!(entry["annotations"]["io.containerd.image.name"], "registry.local/program:dev");
    assert_eq!(entry["mediaType"], INDEX);
    let inner = parse(blob(&files, entry));
    let mut native = Value::Null;
    for (manifest, name) in inner["manifests"].as_array().unwrap().iter().zip(["arm64", "amd64"]) {
        assert_eq!(manifest["platform"], json!({ "architecture": name, "os": "linux" }));
        let config = parse(blob(&files, manifest))["config"].clone();
        assert_eq!(parse(blob(&files, &config))["architecture"], name);
        if name == Architecture::NATIVE.name() {
            native = path_of(&config).into();
        }
    }
    let docker = parse(&files["manifest.json"]);
    assert_eq!((docker.as_array().unwrap().len(), &docker[0]["Config"]), (1, &native));
}

#[test]
fn what_is_missing_is_named() {
    let error = Layer::new().copy(Path::new("/no/such/program"), "/bin/x").unwrap_err().to_string();
    assert!(error.contains("/no/such/program"), "{error}");
    let (folder, program) = program();
    let mut image = image(&program);
    image.name = "untagged".to_owned();
    let path = folder.path().join("image.tar");
    assert!(format!("{:#}", write(&path, &[image]).unwrap_err()).contains("tag"));
    assert!(!path.exists());
}
