//! The only place that reads environment variables.

use std::path::PathBuf;

/// What the environment says, read once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Environment {
    /// `OSTRO_CPU`: instruction set to use in place of the best one (`portable`, `avx2`, `avx512`).
    pub(crate) instruction_set: Option<String>,
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
    matches!(value.to_ascii_uppercase().as_str(), "1" | "ON" | "YES" | "TRUE")
}

#[cfg(test)]
mod tests {
    use super::is_true;

    #[test]
    fn switches_are_read_as_the_hub_reads_them() {
        for (value, expected) in
            [("1", true), ("true", true), ("Yes", true), ("on", true), ("0", false), ("no", false)]
        {
            assert_eq!(is_true(value), expected, "{value}");
        }
    }
}
