//! What the tests on real models share. The models are in the user's cache folder, where
//! `ostro-e2e model fetch NAME` puts them.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

#[path = "../../../../e2e/src/skipped.rs"]
pub mod skipped;

use std::env;
use std::path::{Path, PathBuf};

use ostro_engine::TokenStream;
use ostro_engine::request::{TokenEvent, TokenId};

/// The path inside the models' folder.
#[derive(Clone, Copy, Debug)]
pub struct RealModel {
    pub name: &'static str,
    pub file: &'static str,
}

pub const SMOLLM2: RealModel =
    RealModel { name: "smollm2-135m-instruct", file: "SmolLM2-135M-Instruct.Q4_1.gguf" };
pub const QWEN_CODER: RealModel =
    RealModel { name: "qwen2.5-coder-0.5b-instruct", file: "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf" };
/// A directory with safetensors.
pub const STORIES: RealModel = RealModel { name: "stories15m", file: "" };

impl RealModel {
    /// `None`, with a printed reason, when the model was not fetched.
    pub fn path(&self) -> Option<PathBuf> {
        match self.file {
            "" => cached(&format!("{}/config.json", self.name))?.parent().map(Path::to_owned),
            file => cached(&format!("{}/{file}", self.name)),
        }
    }
}

/// What is at this path inside the models' folder; `None`, with a printed reason, when it was not fetched.
pub fn cached(path: &str) -> Option<PathBuf> {
    let cache = env::var_os("XDG_CACHE_HOME").filter(|folder| !folder.is_empty()).map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cache")))?;
    let found = cache.join("ostro/models").join(path);
    if found.exists() {
        return Some(found);
    }
    let (name, found) = (path.split('/').next().unwrap_or(path), found.display());
    skipped::tell(format_args!("{found} is not there; get it by `ostro-e2e model fetch {name}`"));
    None
}

/// All tokens of an answer.
pub fn read(mut stream: TokenStream) -> Vec<TokenId> {
    let mut ids = Vec::new();
    loop {
        match stream.blocking_next().unwrap() {
            TokenEvent::Token(token) => ids.push(token.id),
            TokenEvent::Finished(_) => return ids,
            TokenEvent::Failed(reason) => panic!("{reason}"),
        }
    }
}
