//! Any bytes as config.json of a model directory: refused, or a decoder the checks vouch for.
#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use ostro_engine::model::families::read_spec;
use ostro_engine::model::roles::DecoderTensors;
use ostro_engine::tiny::{TinyFamily, TinyModel};
use ostro_engine::weights::ModelFiles;

static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = std::env::temp_dir().join(format!("ostro-fuzz-{}", std::process::id()));
    let model = TinyModel::new(TinyFamily::Qwen2);
    model.write_directory(&folder).expect("the folder for temporary files can be written");
    folder
});

fuzz_target!(|config: &[u8]| {
    std::fs::write(FOLDER.join("config.json"), config).expect("the folder can be written");
    let Ok(files) = ModelFiles::open(&FOLDER) else { return };
    let Ok((family, spec)) = read_spec(&files) else { return };
    assert_eq!(spec.rotary.frequencies().len(), spec.rotary.dims / 2);
    let _ = DecoderTensors::find(&files, family, &spec);
});
