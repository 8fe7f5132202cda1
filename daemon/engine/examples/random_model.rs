//! Writes a model of a real size with random weights: `cargo run --release -p ostro-engine --example random_model --
//! qwen3-8b FILE.gguf`.

use std::path::Path;

use anyhow::{Context, Result, bail};
use ostro_engine::tiny::SHAPES;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, path] = arguments.as_slice() else {
        bail!("expected a shape ({}) and a path", SHAPES.map(|shape| shape.name).join(", "));
    };
    let shape = SHAPES.iter().find(|shape| shape.name == name).context("no such shape")?;
    shape.write_gguf(Path::new(path))?;
    Ok(())
}
