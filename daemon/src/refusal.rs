//! What the engine refuses, said of the configuration: place, key and value as they were written, not the engine's
//! option that they became in `translate`.

use std::path::Path;
use std::sync::Arc;

use ostro_config::{Loaded, Problem};
use ostro_engine::LoadError;
use ostro_engine::memory::MemoryError;
use ostro_engine::text::{TemplateError, TextError};

/// Where the options of one model come from.
#[derive(Clone, Debug)]
pub(crate) struct Origins {
    loaded: Arc<Loaded>,
    /// Among the models.
    index: usize,
}

impl Origins {
    pub(crate) fn new(loaded: Arc<Loaded>, index: usize) -> Origins {
        Origins { loaded, index }
    }

    /// The key to blame; `None` where it is none.
    pub(crate) fn problem(&self, error: &LoadError) -> Option<Problem> {
        let (key, message) = match error {
            LoadError::Option(error) => (self.option(error.name)?, format!("must be {}", error.allowed)),
            LoadError::Memory(error) => (self.cache()?, too_large(error)?),
            LoadError::Text(TextError::Template(error)) => (self.template()?.0, no_template(error)),
            LoadError::Text(TextError::Read { path, source }) => {
                (self.template_at(path)?, format!("cannot be read: {source}"))
            }
            LoadError::Text(TextError::NotAFile(path)) => {
                (self.template_at(path)?, "is not a regular file".to_owned())
            }
            _ => return None,
        };
        Some(self.loaded.problem(&key, message))
    }

    /// The key that became the engine's option of this name.
    fn option(&self, name: &str) -> Option<String> {
        let key = match name {
            "context_len" => return Some(self.of_model("device.max_seq_len")),
            "threads" => "runtime.threads",
            "block_size" => "paged_attn.block_size",
            "max_seqs" => "runtime.max_seqs",
            "tokens_per_step" | "prompt_tokens_beside_decode" => "runtime.max_num_batched_tokens",
            _ => return None,
        };
        Some(key.to_owned())
    }

    /// The key that sizes the cache.
    fn cache(&self) -> Option<String> {
        let cache = &self.loaded.config.paged_attn;
        let keys = [
            ("context_len", cache.context_len.is_some()),
            ("memory_mb", cache.memory_mb.is_some()),
            ("memory_fraction", cache.memory_fraction.is_some()),
        ];
        keys.iter().find(|(_, set)| *set).map(|(name, _)| format!("paged_attn.{name}"))
    }

    /// The key that names this file.
    fn template_at(&self, path: &Path) -> Option<String> {
        self.template().filter(|(_, file)| path.ends_with(file)).map(|(key, _)| key)
    }

    /// The key whose template the engine takes, and its file.
    fn template(&self) -> Option<(String, &Path)> {
        self.loaded.config.template(self.index)
    }

    fn of_model(&self, key: &str) -> String {
        format!("models[{}].{key}", self.index)
    }
}

fn too_large(error: &MemoryError) -> Option<String> {
    let mib = |bytes: &u64| bytes.div_ceil(1 << 20);
    match error {
        MemoryError::Cache { model_bytes, cache_bytes, available_bytes, owner } => Some(format!(
            "asks for a key-value cache of {} MiB beside a model of {} MiB, but {} MiB of {owner} are available",
            mib(cache_bytes),
            mib(model_bytes),
            mib(available_bytes)
        )),
        MemoryError::NoBlock { cache_bytes, block_size, bytes_per_block } => Some(format!(
            "gives the key-value cache {cache_bytes} bytes, but one block of {block_size} tokens takes \
             {bytes_per_block}"
        )),
        MemoryError::TooManyBlocks { blocks } => {
            Some(format!("asks for {blocks} cache blocks, more than can be numbered"))
        }
        MemoryError::Fraction { .. } => Some("is too small a share of memory for each model".to_owned()),
        MemoryError::Model { .. } => None,
    }
}

fn no_template(error: &TemplateError) -> String {
    match error {
        TemplateError::Syntax { line, message, .. } => {
            format!("is not a chat template: line {line}: {message}")
        }
        error => format!("is not a chat template: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use ostro_engine::OptionError;
    use ostro_engine::memory::MemoryOwner;

    use super::*;

    fn check(text: &str, error: LoadError, expected: Option<&str>) {
        let text = format!("{text}[[models]]\nmodel_id = \"l\"\n[[models]]\nmodel_id = \"m\"\n");
        let text = format!("{text}device.max_seq_len = 9000\njinja_explicit = \"own.jinja\"\n");
        let origins = Origins::new(Arc::new(Loaded::from_toml("a.toml", &text).unwrap()), 1);
        let problem = origins.problem(&error).map(|problem| problem.to_string());
        assert_eq!(problem.as_deref(), expected, "{error}");
    }

    fn option(name: &'static str) -> LoadError {
        LoadError::Option(OptionError { name, value: 9000, allowed: "2 to 2048".to_owned() })
    }

    #[test]
    fn options_are_named_by_their_key() {
        check(
            "",
            option("context_len"),
            Some("a.toml:5: models[1].device.max_seq_len = 9000 must be 2 to 2048"),
        );
        check(
            "[runtime]\nmax_num_batched_tokens = 5\n",
            option("prompt_tokens_beside_decode"),
            Some("a.toml:2: runtime.max_num_batched_tokens = 5 must be 2 to 2048"),
        );
        check("", option("threads"), Some("a.toml: runtime.threads must be 2 to 2048"));
        check("", option("something else"), None);
    }

    #[test]
    fn cache_that_does_not_fit_is_named_by_the_key_that_sizes_it() {
        let error = || MemoryError::Cache {
            model_bytes: 5_000_000,
            cache_bytes: 9_000_000,
            available_bytes: 10_000_000,
            owner: MemoryOwner::Shared,
        };
        let message =
            "asks for a key-value cache of 9 MiB beside a model of 5 MiB, but 10 MiB of memory are available";
        for (key, value) in [("context_len", "70"), ("memory_mb", "9"), ("memory_fraction", "0.5")] {
            let text = format!("[paged_attn]\n{key} = {value}\n");
            let expected = format!("a.toml:2: paged_attn.{key} = {value} {message}");
            check(&text, error().into(), Some(&expected));
        }
        check("", error().into(), None);
    }

    #[test]
    fn broken_template_is_named_by_the_key_that_wins() {
        let error = TemplateError::Syntax { name: "default".to_owned(), line: 3, message: "odd".to_owned() };
        check(
            "[runtime]\nchat_template = \"all.jinja\"\n",
            LoadError::Text(TextError::Template(error)),
            Some("a.toml:8: models[1].jinja_explicit = \"own.jinja\" is not a chat template: line 3: odd"),
        );
        let unread =
            |path: &str| TextError::Read { path: path.into(), source: std::io::ErrorKind::NotFound.into() };
        check(
            "",
            LoadError::Text(unread("/etc/own.jinja")),
            Some("a.toml:6: models[1].jinja_explicit = \"own.jinja\" cannot be read: entity not found"),
        );
        check(
            "",
            LoadError::Text(TextError::NotAFile("/etc/own.jinja".into())),
            Some("a.toml:6: models[1].jinja_explicit = \"own.jinja\" is not a regular file"),
        );
        check("", LoadError::Text(unread("/model/tokenizer.json")), None);
    }
}
