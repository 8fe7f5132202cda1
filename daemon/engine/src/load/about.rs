//! What a model's files say about it, for people: name, size, number format.

use std::collections::BTreeMap;

use crate::backend::Backend;
use crate::info::{CacheInfo, ModelInfo, PublishedSampling};
use crate::model::decoder::DecoderWeights;
use crate::model::roles::DecoderTensors;
use crate::model::spec::DecoderSpec;
use crate::weights::ModelFiles;
use crate::weights::gguf::MetadataError;

pub(super) struct About {
    name: Option<String>,
    /// Of the decoder's tensors in the file.
    pub(super) bytes: u64,
    parameters: u64,
    layer_parameters: u64,
    /// The type of most parameters.
    weight_type: String,
    sampling: PublishedSampling,
}

impl About {
    pub(super) fn read(files: &ModelFiles, tensors: &DecoderTensors<'_>) -> Result<Self, MetadataError> {
        let mut by_type: BTreeMap<String, u64> = BTreeMap::new();
        let (mut bytes, mut parameters) = (0, 0);
        for tensor in tensors.all() {
            bytes += tensor.bytes.len() as u64;
            parameters += tensor.elements() as u64;
            *by_type.entry(tensor.dtype.to_string()).or_default() += tensor.elements() as u64;
        }
        let most = by_type.into_iter().max_by_key(|(_, elements)| *elements);
        let weight_type = most.map(|(name, _)| name).unwrap_or_default();
        let layer_parameters = tensors.of_layers().map(|tensor| tensor.elements() as u64).sum();
        let sampling = sampling(files)?;
        Ok(About { name: name(files), bytes, parameters, layer_parameters, weight_type, sampling })
    }

    pub(super) fn into_info<B: Backend>(
        self,
        backend: &B,
        weights: &DecoderWeights<B>,
        spec: &DecoderSpec,
        (context_len, cache): (u32, CacheInfo),
    ) -> ModelInfo {
        ModelInfo {
            architecture: spec.architecture.clone(),
            name: self.name,
            weight_type: self.weight_type,
            parameters: self.parameters,
            layer_parameters: self.layer_parameters,
            layers: spec.layers as u32,
            hidden_size: spec.hidden as u32,
            vocab_size: spec.vocab as u32,
            published_sampling: self.sampling,
            context_len,
            model_context_len: spec.context_length as u32,
            weight_bytes: weights.bytes(backend),
            step_weight_bytes: weights.step_bytes(backend),
            cache,
            threads: backend.threads(),
            instruction_set: backend.instruction_set(),
            device: backend.device(),
            nominal_bytes_per_second: backend.nominal_bytes_per_second(),
            load_seconds: 0.0,
        }
    }
}

fn name(files: &ModelFiles) -> Option<String> {
    let found = match files {
        ModelFiles::Gguf(file) => file.metadata().str("general.name").ok()?,
        ModelFiles::Safetensors(directory) => directory.config().str("_name_or_path").ok()?,
    };
    found.filter(|name| !name.is_empty()).map(str::to_owned)
}

/// What converters copy from a directory's `generation_config.json`.
fn sampling(files: &ModelFiles) -> Result<PublishedSampling, MetadataError> {
    let ModelFiles::Gguf(file) = files else { return Ok(PublishedSampling::default()) };
    let number = |key| file.metadata().float(key);
    Ok(PublishedSampling {
        temperature: number("general.sampling.temp")?,
        top_p: number("general.sampling.top_p")?,
        top_k: number("general.sampling.top_k")?,
        min_p: number("general.sampling.min_p")?,
        repetition_penalty: number("general.sampling.penalty_repeat")?,
    })
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;
    use crate::tiny::{TinyFamily, TinyModel};
    use crate::weights::gguf::{GgufFile, write::write};

    #[test]
    fn a_file_tells_how_its_publishers_sample() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tiny.gguf");
        TinyModel::new(TinyFamily::Llama).write_gguf(&path).unwrap();
        let mut metadata = GgufFile::open(&path).unwrap().metadata().clone();
        metadata.insert("general.sampling.temp", 0.5f32);
        metadata.insert("general.sampling.top_k", 20u32);
        write(&mut File::create(&path).unwrap(), &metadata, &[]).unwrap();
        let expected =
            PublishedSampling { temperature: Some(0.5), top_k: Some(20.0), ..PublishedSampling::default() };
        assert_eq!(sampling(&ModelFiles::open(&path).unwrap()).unwrap(), expected);
    }
}
