//! Whether `Containerfile` makes the images of `image build`: what a container program would read of it is compared, and
//! the step that lays out files is run here.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::make::{CERTIFICATES, image_of};
use super::{Architecture, Image, programs};
use crate::skipped;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
/// Targets, and the programs that they hold.
const TARGETS: [(&str, &str); 2] = [("daemon", "ostro"), ("operator", "ostro-operator")];

/// Instructions of each stage as (name, rest), `FROM` included.
type Stages = BTreeMap<String, Vec<(String, String)>>;

fn stages() -> Stages {
    let text = std::fs::read_to_string(format!("{ROOT}/Containerfile")).unwrap();
    let text = text.replace("\\\n", "");
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut stages = Stages::new();
    let mut name = String::new();
    for line in lines {
        let (instruction, rest) = line.split_once(' ').unwrap();
        if instruction == "FROM" {
            name = rest.split_once(" AS ").unwrap().1.to_owned();
        }
        stages.entry(name.clone()).or_default().push((instruction.to_owned(), rest.to_owned()));
    }
    stages
}

/// What follows an instruction's name, wherever it stands in the stage.
fn all<'a>(stages: &'a Stages, stage: &str, instruction: &str) -> Vec<&'a str> {
    let found = stages[stage].iter().filter(|(name, _)| name == instruction);
    found.map(|(_, rest)| rest.as_str()).collect()
}

/// Any dynamic program does.
fn image(name: &str, folder: &Path) -> Image {
    let native = Architecture::NATIVE;
    image_of(name, &programs::stripped(Path::new("/bin/true"), folder, native).unwrap(), native).unwrap()
}

#[test]
fn containers_start_alike() {
    let (stages, folder) = (stages(), TempDir::new().unwrap());
    for (target, name) in TARGETS {
        let image = image(name, folder.path());
        assert_eq!(all(&stages, target, "FROM"), [format!("scratch AS {target}")]);
        assert_eq!(all(&stages, target, "USER"), [image.user.as_str()]);
        let entrypoint = serde_json::to_string(&image.entrypoint).unwrap();
        assert_eq!(all(&stages, target, "ENTRYPOINT"), [entrypoint]);
        assert_eq!(all(&stages, target, "ENV"), image.environment);
        assert!(image.arguments.is_empty() && all(&stages, target, "CMD").is_empty());
    }
}

#[test]
fn programs_are_built_alike() {
    let stages = stages();
    let run = all(&stages, "build", "RUN").join(" ");
    for (_, name) in TARGETS {
        let words = format!("cargo {}", programs::build_words(name).join(" "));
        let end = run.split_once(&words).unwrap_or_else(|| panic!("no {words}")).1;
        assert!(end.is_empty() || end.starts_with(" &&"), "{words}{end}");
    }
    let toolchain = std::fs::read_to_string(format!("{ROOT}/rust-toolchain.toml")).unwrap();
    let version = toolchain.split('"').nth(1).unwrap();
    assert!(all(&stages, "build", "FROM")[0].starts_with(&format!("docker.io/library/rust:{version}-")));
    assert_eq!(all(&stages, "build", "ENV"), [format!("RUSTUP_TOOLCHAIN={version}")]);
}

/// Mode, and bytes where it is a file, by the path in the image.
type Tree = BTreeMap<PathBuf, (u32, Option<Vec<u8>>)>;

fn read_tree(folder: &Path, inside: &Path, tree: &mut Tree) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = inside.join(path.file_name().unwrap());
        let mode = path.metadata().unwrap().permissions().mode() & 0o777;
        if path.is_dir() {
            tree.insert(name.clone(), (mode, None));
            read_tree(&path, &name, tree);
        } else {
            tree.insert(name, (mode, Some(std::fs::read(&path).unwrap())));
        }
    }
}

/// Runs the stage `files` in `folder`, with `/bin/true` for both programs.
fn lay_out(stages: &Stages, folder: &Path) {
    let built = folder.join("target/release");
    std::fs::create_dir_all(&built).unwrap();
    for (_, name) in TARGETS {
        std::fs::copy("/bin/true", built.join(name)).unwrap();
    }
    let script = all(stages, "files", "RUN").join(" && ");
    let script = script.replace("/image/", &format!("{}/image/", folder.display()));
    let status =
        Command::new("sh").arg("-euc").arg(format!("umask 022; {script}")).current_dir(folder).status();
    assert!(status.unwrap().success(), "{script}");
}

/// What a target's `COPY` instructions bring, from the folder that `lay_out` has filled.
fn copied(stages: &Stages, target: &str, folder: &Path) -> Tree {
    let mut tree = Tree::new();
    for copy in all(stages, target, "COPY") {
        let words: Vec<&str> = copy.split(' ').filter(|word| !word.starts_with("--chown=")).collect();
        let ["--from=files", source, destination] = words.as_slice() else { panic!("{copy}") };
        let source = folder.join(source.trim_start_matches('/'));
        if *destination != "/" {
            tree.insert(destination.trim_start_matches('/').into(), (0o755, None));
        }
        read_tree(&source, Path::new(destination.trim_start_matches('/')), &mut tree);
    }
    tree
}

#[test]
fn files_are_the_same() {
    if !Path::new(CERTIFICATES).is_file() {
        skipped::tell(format_args!("{CERTIFICATES} is not there; install ca-certificates"));
        return;
    }
    let (stages, laid_out) = (stages(), TempDir::new().unwrap());
    lay_out(&stages, laid_out.path());
    for (target, name) in TARGETS {
        let (folder, unpacked) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let image = image(name, folder.path());
        let mut bytes = Vec::new();
        image.layer.write(&mut bytes).unwrap();
        tar::Archive::new(bytes.as_slice()).unpack(unpacked.path()).unwrap();
        let mut expected = Tree::new();
        read_tree(unpacked.path(), Path::new(""), &mut expected);
        let found = copied(&stages, target, laid_out.path());
        assert!(found.keys().eq(expected.keys()), "{:?}\n{:?}", found.keys(), expected.keys());
        for (path, entry) in &expected {
            assert!(found[path] == *entry, "{} differs, mode {:o}", path.display(), found[path].0);
        }
        let owner = format!("--chown={}", image.user);
        let owned = all(&stages, target, "COPY").into_iter().filter(|copy| copy.contains("--chown"));
        let owned: Vec<_> = owned.map(|copy| copy.split(' ').collect::<Vec<_>>()).collect();
        assert_eq!(owned, [["--from=files", &owner, "/image/nonroot", "/home/nonroot"]]);
    }
}
