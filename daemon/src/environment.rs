//! The only place that reads environment variables.

use std::path::PathBuf;

use crate::failure::Failure;

/// What the environment says, read once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Environment {
    /// `OSTRO_CPU`: instruction set to use in place of the best one (`portable`, `avx2`, `avx512`, `amx`, `neon`).
    pub(crate) instruction_set: Option<String>,
    /// `OSTRO_DRAIN_SECONDS`: how long running answers may go on after SIGTERM.
    pub(crate) drain_seconds: Option<String>,
    /// `OSTRO_ALL_MODELS`: whether a server can do without some of its models.
    pub(crate) all_models: Option<String>,
    /// `OSTRO_REQUIRE_GPU`: whether a model may run on the CPU that was not told to.
    pub(crate) require_gpu: Option<String>,
    /// `HF_HOME`, else `huggingface` in the user's cache folder, else in the one for temporary files.
    pub(crate) hf_home: PathBuf,
    /// `HF_HUB_CACHE`: where downloaded models are kept, else `hub` in `hf_home`.
    pub(crate) hf_cache: Option<PathBuf>,
    /// `HF_ENDPOINT`: the hub's address.
    pub(crate) hf_endpoint: Option<String>,
    /// `HF_HUB_OFFLINE`: use what is downloaded already.
    pub(crate) hf_offline: Offline,
    /// `HF_TOKEN`: wins over the token file.
    pub(crate) hf_token: Option<String>,
    /// `RUST_LOG`: what is logged.
    pub(crate) log_filter: Option<String>,
    /// `NO_COLOR`, or a terminal that has none.
    pub(crate) color: Color,
    /// Where the chat history is kept.
    pub(crate) state_dir: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Offline {
    #[default]
    No,
    Yes,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Color {
    #[default]
    Allowed,
    Never,
}

impl Environment {
    pub(crate) fn read() -> Self {
        let home = path("HOME");
        let under_home = |variable: &str, folder: &str| {
            path(variable).or_else(|| home.as_ref().map(|home| home.join(folder)))
        };
        let offline = text("HF_HUB_OFFLINE").is_some_and(|value| is_true(&value));
        let cache = under_home("XDG_CACHE_HOME", ".cache").unwrap_or_else(std::env::temp_dir);
        Environment {
            instruction_set: text("OSTRO_CPU"),
            drain_seconds: text("OSTRO_DRAIN_SECONDS"),
            all_models: text("OSTRO_ALL_MODELS"),
            require_gpu: text("OSTRO_REQUIRE_GPU"),
            hf_home: path("HF_HOME").unwrap_or_else(|| cache.join("huggingface")),
            hf_cache: path("HF_HUB_CACHE"),
            hf_endpoint: text("HF_ENDPOINT"),
            hf_offline: if offline { Offline::Yes } else { Offline::No },
            hf_token: text("HF_TOKEN"),
            log_filter: text("RUST_LOG"),
            color: if text("NO_COLOR").is_some() { Color::Never } else { Color::Allowed },
            state_dir: under_home("XDG_STATE_HOME", ".local/state").map(|state| state.join("ostro")),
        }
    }

    /// The value of a variable that the configuration names (`token_source = "env:NAME"`).
    pub(crate) fn named(name: &str) -> Option<String> {
        text(name)
    }
}

/// An empty variable counts as absent.
fn text(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn path(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// As the hub's own tools read it.
fn is_true(value: &str) -> bool {
    switch(value) == Some(true)
}

/// What one of our own variables says; not set is off.
pub(crate) fn is_on(variable: &str, value: Option<&str>) -> Result<bool, Failure> {
    let Some(value) = value else { return Ok(false) };
    switch(value).ok_or_else(|| {
        Failure::Usage(format!("{variable} = {value:?}: must be 1, on, yes or true, or 0, off, no or false"))
    })
}

/// `None`: it says neither.
fn switch(value: &str) -> Option<bool> {
    match value.to_ascii_uppercase().as_str() {
        "1" | "ON" | "YES" | "TRUE" => Some(true),
        "0" | "OFF" | "NO" | "FALSE" => Some(false),
        _ => None,
    }
}

/// Every variable that is read by name, for the reference page.
#[cfg(test)]
pub(crate) const VARIABLES: [(&str, &str); 14] = [
    (
        "OSTRO_CPU",
        "instruction set to use in place of the best one: `portable`, `avx2`, `avx512`, `amx`, `neon`",
    ),
    (
        "OSTRO_DRAIN_SECONDS",
        "how long running answers may go on after SIGTERM or SIGINT: 0 to 86400, by default 25",
    ),
    (
        "OSTRO_ALL_MODELS",
        "`1`, `on`, `yes` or `true`: end, once all others are loaded, where a model cannot be; `0`, `off`, `no` or \
         `false`, as without it: serve the others",
    ),
    (
        "OSTRO_REQUIRE_GPU",
        "`1`, `on`, `yes` or `true`: a model that is not told to run on the CPU (`--cpu`) fails where no GPU can be \
         used; `0`, `off`, `no` or `false`, as without it: it runs on the CPU then",
    ),
    (
        "HF_HOME",
        "where hub models and the hub's token are kept; by default `huggingface` in `XDG_CACHE_HOME`",
    ),
    ("HF_HUB_CACHE", "where hub models are kept; by default `hub` in `HF_HOME`"),
    ("HF_ENDPOINT", "address of the hub"),
    ("HF_HUB_OFFLINE", "`1`, `on`, `yes` or `true`: use what is downloaded already"),
    ("HF_TOKEN", "token for the hub; wins over the token file"),
    ("RUST_LOG", "what is logged, as in `ostro_engine=debug,info`; wins over `-v`"),
    ("NO_COLOR", "no colours"),
    (
        "XDG_CACHE_HOME",
        "folder of caches; by default `.cache` in `HOME`, without that the one for temporary files",
    ),
    ("XDG_STATE_HOME", "`ostro` in it keeps the history of chats; by default `.local/state` in `HOME`"),
    ("HOME", "the user's folder"),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::{VARIABLES, is_true, switch};

    /// The variables that a source names, as `"OSTRO_CPU"`.
    fn names_in(source: &str) -> BTreeSet<&str> {
        let is_name =
            |text: &&str| text.len() > 3 && text.chars().all(|c| c.is_ascii_uppercase() || c == '_');
        source.split('"').filter(is_name).collect()
    }

    #[test]
    fn reference_lists_every_variable_that_is_read() {
        let (source, _) = include_str!("environment.rs").split_once("/// Every variable").unwrap();
        let (_, source) = source.split_once("impl Environment").unwrap();
        let (source, _) = source.split_once("/// As the hub's own tools").unwrap();
        assert_eq!(names_in(source), VARIABLES.iter().map(|(name, _)| *name).collect());
    }

    #[test]
    fn nothing_else_reads_the_environment() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let packages = [
            "daemon",
            "daemon/config",
            "daemon/server",
            "daemon/engine",
            "kernels",
            "exposition",
            "json",
            "listen",
        ];
        let mut folders: Vec<_> = packages.map(|package| root.join(package).join("src")).into();
        let mut readers = Vec::new();
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if std::fs::read_to_string(&path).is_ok_and(|source| reads_environment(&source)) {
                    readers.push(path.strip_prefix(root).unwrap().to_owned());
                }
            }
        }
        assert_eq!(readers, [Path::new("daemon/src/environment.rs")]);
    }

    /// But for the switch by which tests write the reference pages.
    fn reads_environment(source: &str) -> bool {
        let reads = ["env::var(", "env::var_os(", "env::vars"];
        source
            .lines()
            .any(|line| reads.iter().any(|read| line.contains(read)) && !line.contains("OSTRO_UPDATE_DOCS"))
    }

    #[test]
    fn switches_are_read_as_the_hub_reads_them() {
        for (value, expected) in [
            ("1", Some(true)),
            ("true", Some(true)),
            ("Yes", Some(true)),
            ("on", Some(true)),
            ("0", Some(false)),
            ("False", Some(false)),
            ("no", Some(false)),
            ("off", Some(false)),
            ("2", None),
            ("ture", None),
            (" 1", None),
        ] {
            assert_eq!(switch(value), expected, "{value}");
            assert_eq!(is_true(value), expected == Some(true), "{value}");
        }
    }
}
