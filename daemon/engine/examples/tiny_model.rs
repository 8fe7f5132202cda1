//! Writes a tiny random model: `cargo run -p ostro-engine --example tiny_model -- llama q8_0 tiny.gguf`.
//!
//! A path that ends in `.gguf` becomes one file, any other a directory with safetensors. The files
//! are good seeds for the fuzz targets: `fuzz/corpus/gguf/`, `fuzz/corpus/gguf_model/`.

use std::path::Path;

use anyhow::{Context, Result, bail};
use ostro_engine::tiny::{TinyFamily, TinyModel};
use ostro_engine::weights::WeightType;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [family, weight_type, path] = arguments.as_slice() else {
        bail!(
            "expected a family (llama, qwen2, qwen3), a weight type (f32, f16, bf16, q8_0, q4_1) and a path"
        );
    };
    let family = match family.as_str() {
        "llama" => TinyFamily::Llama,
        "qwen2" => TinyFamily::Qwen2,
        "qwen3" => TinyFamily::Qwen3,
        other => bail!("no family is named {other:?}"),
    };
    let known = WeightType::ALL.into_iter().find(|known| known.name().eq_ignore_ascii_case(weight_type));
    let model = TinyModel::new(family).weight_type(known.context("no such weight type")?);
    let path = Path::new(path);
    match path.extension().is_some_and(|extension| extension == "gguf") {
        true => model.write_gguf(path)?,
        false => model.write_directory(path)?,
    }
    Ok(())
}
