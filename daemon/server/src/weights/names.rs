//! Names from users and from the hub, checked before they become paths.

use std::path::{Component, Path, PathBuf};

use super::WeightsError;

/// Where a model is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModelLocation {
    /// A file or a directory.
    Path(PathBuf),
    /// Of the hub: `owner/name`.
    Hub(String),
}

impl ModelLocation {
    /// A model's name means a path from `folder`, or from the working directory where there is none; or a hub id, that is
    /// nothing there.
    pub fn of(name: &str, folder: Option<&Path>) -> Self {
        let path = folder.map_or_else(|| PathBuf::from(name), |folder| folder.join(name));
        match looks_like_path(name) || path.exists() {
            true => ModelLocation::Path(path),
            false => ModelLocation::Hub(name.to_owned()),
        }
    }
}

/// Written like a path, so that a mistyped path is not looked for on the hub.
fn looks_like_path(model: &str) -> bool {
    let path = Path::new(model);
    path.is_absolute()
        || model.starts_with(['.', '~'])
        || model.contains('\\')
        || model.ends_with('/')
        || model.matches('/').count() > 1
        || path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf"))
}

/// What people call a model that is given as a path: the last part, a file's without `.gguf`.
pub fn name_of_path(path: &str) -> Option<&str> {
    let name = Path::new(path).file_name()?.to_str()?;
    let stem = name.len().checked_sub(".gguf".len()).and_then(|end| name.split_at_checked(end));
    match stem {
        Some((stem, ending)) if !stem.is_empty() && ending.eq_ignore_ascii_case(".gguf") => Some(stem),
        _ => Some(name),
    }
}

/// # Errors
/// It is no id.
pub(super) fn check_repository_id(id: &str) -> Result<(), WeightsError> {
    if is_repository_id(id) { Ok(()) } else { Err(WeightsError::InvalidId(id.to_owned())) }
}

/// `name` or `owner/name` in the hub's alphabet.
pub(super) fn is_repository_id(id: &str) -> bool {
    let is_name = |name: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        (1..=96).contains(&name.len())
            && name.bytes().all(plain)
            && !name.starts_with('.')
            && !name.contains("..")
    };
    id.matches('/').count() <= 1 && id.split('/').all(is_name)
}

/// A file of a repository: relative, and inside it.
pub(super) fn is_inside(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    !name.is_empty() && !name.contains(['\\', '\0']) && parts.all(|part| matches!(part, Component::Normal(_)))
}

/// A commit or content id: it becomes a file name.
pub(super) fn is_content_id(id: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (1..=128).contains(&id.len()) && id.bytes().all(plain)
}

pub(super) fn is_commit(revision: &str) -> bool {
    revision.len() == 40 && revision.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_called_by_its_last_part() {
        for (path, name) in [
            ("/models/a.Q4_1.gguf", Some("a.Q4_1")),
            ("../b.GGUF", Some("b")),
            ("./models/qwen3/", Some("qwen3")),
            ("/.gguf", Some(".gguf")),
            ("models/qwen3", Some("qwen3")),
            ("/", None),
        ] {
            assert_eq!(name_of_path(path), name, "{path}");
        }
    }

    #[test]
    fn names_are_paths_from_their_folder_or_hub_ids() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("owner/here")).unwrap();
        let of = |name: &str| ModelLocation::of(name, Some(folder.path()));
        for path in ["owner/here", "a.gguf", "./a", "../a", "a/b/c"] {
            assert_eq!(of(path), ModelLocation::Path(folder.path().join(path)), "{path}");
        }
        assert_eq!(of("/a/b"), ModelLocation::Path("/a/b".into()));
        // The second is a folder of the directory that tests work in.
        for id in ["owner/name", "src/weights"] {
            assert_eq!(of(id), ModelLocation::Hub(id.into()));
        }
        for path in ["a.gguf", "src/weights"] {
            assert_eq!(ModelLocation::of(path, None), ModelLocation::Path(path.into()));
        }
    }

    #[test]
    fn paths_and_ids_are_told_apart() {
        for path in ["/a/b", "./a", "../a", "~/a", "a/b/c", "a\\b", "a/", "model.gguf", "a/model.GGUF"] {
            assert!(looks_like_path(path), "{path}");
        }
        for id in ["gpt2", "Qwen/Qwen2.5-0.5B", "a_b/c-d.e"] {
            assert!(!looks_like_path(id) && is_repository_id(id), "{id}");
        }
        for id in ["", "/", "a/", "/a", "a b", "a/..", "a/.b", "a/b?c", "a/b%2f", &"a".repeat(97)] {
            assert!(!is_repository_id(id), "{id}");
        }
    }

    #[test]
    fn names_that_leave_the_repository_are_refused() {
        assert!(is_inside("model.safetensors") && is_inside("Q4/model.gguf"));
        for name in ["", "/etc/passwd", "../x", "a/../../x", "a\\..\\x", "./x", "a\0b"] {
            assert!(!is_inside(name), "{name}");
        }
        for id in ["", "../x", "a/b", ".", &"a".repeat(129)] {
            assert!(!is_content_id(id), "{id}");
        }
    }
}
