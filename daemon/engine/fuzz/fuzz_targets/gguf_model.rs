//! Any bytes as a GGUF model: refused, or a decoder the checks vouch for and a vocabulary.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ostro_engine::model::families::read_spec;
use ostro_engine::model::roles::DecoderTensors;
use ostro_engine::text::{GgufVocabulary, TextModel, TextOverrides};
use ostro_engine::weights::ModelFiles;

fuzz_target!(|bytes: &[u8]| {
    let path = std::env::temp_dir().join(format!("ostro-fuzz-{}.gguf", std::process::id()));
    std::fs::write(&path, bytes).expect("the folder for temporary files can be written");
    let Ok(files) = ModelFiles::open(&path) else { return };
    if let Ok((family, spec)) = read_spec(&files) {
        assert_eq!(spec.rotary.frequencies().len(), spec.rotary.dims / 2);
        if let Ok(tensors) = DecoderTensors::find(&files, family, &spec) {
            assert_eq!(tensors.layers.len(), spec.layers);
        }
    }
    let ModelFiles::Gguf(file) = &files else { unreachable!("a file is opened as GGUF") };
    if let Ok(vocabulary) = GgufVocabulary::read(file.metadata()) {
        let _ = TextModel::from_gguf(&vocabulary, &TextOverrides::default());
    }
});
