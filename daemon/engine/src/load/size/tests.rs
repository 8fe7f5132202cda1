use super::*;
use crate::backend::cpu::CpuBackend;
use crate::backend::{HeadShape, StepLimits};
use crate::model::decoder::DecoderWeights;
use crate::model::families::read_spec;
use crate::model::roles::DecoderTensors;
use crate::options::CacheSize;
use crate::tiny::{TinyFamily, TinyModel};
use crate::weights::ModelFiles;
use ostro_kernels::cpu::isa::Isa;

const MIB: u64 = 1 << 20;

struct Loaded {
    backend: CpuBackend,
    files: ModelFiles,
    spec: DecoderSpec,
    weight_bytes: u64,
}

impl Loaded {
    fn new(context_length: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tiny.gguf");
        TinyModel::new(TinyFamily::Llama).context_length(context_length).write_gguf(&path).unwrap();
        let files = ModelFiles::open(&path).unwrap();
        let (family, spec) = read_spec(&files).unwrap();
        let tensors = DecoderTensors::find(&files, family, &spec).unwrap();
        let mut backend = CpuBackend::new(Isa::PORTABLE, 2).unwrap();
        let weights = DecoderWeights::load(&mut backend, &tensors, &mut |_| ()).unwrap();
        let weight_bytes = weights.bytes(&backend);
        drop(tensors);
        Loaded { weight_bytes, backend, files, spec }
    }

    fn tensors(&self) -> DecoderTensors<'_> {
        let (family, _) = read_spec(&self.files).unwrap();
        DecoderTensors::find(&self.files, family, &self.spec).unwrap()
    }

    fn limits(&self) -> DecoderLimits {
        DecoderLimits { rows: 64, sampled: 8, positions: self.spec.context_length, block_size: 32 }
    }

    fn fit(&self, size: CacheSize, available: u64) -> Result<(KvCacheShape, DecoderLimits), MemoryError> {
        let Loaded { backend, spec, weight_bytes, .. } = self;
        let (tensors, limits, later) = (&self.tensors(), self.limits(), LaterModels::default());
        let sizing = Sizing { backend, spec, tensors, weight_bytes: *weight_bytes, limits, later };
        let (total_bytes, available_bytes) = (Some(available), Some(available));
        sizing.fit(&options(size), &Memory { total_bytes, available_bytes, ..Memory::default() })
    }

    /// Of weights and all buffers, with sequences of so many tokens; and of these, what steps need beside rows.
    fn needs(&self, positions: usize) -> (u64, u64) {
        let spec = &self.spec;
        let limits = DecoderLimits { positions, ..self.limits() };
        let DecoderLimits { rows, sampled, positions, block_size } = limits;
        let shape = HeadShape {
            query_heads: spec.heads,
            kv_heads: spec.kv_heads,
            head_dim: spec.head_dim,
            scale: spec.attention_scale,
        };
        let step = StepLimits { rows, sampled, positions, block_size, hidden: spec.hidden, shape };
        let sampling = 2 * spec.vocab as u64 * SAMPLING_BYTES;
        let buffers = Decoder::buffer_bytes(&self.backend, spec, limits, &self.tensors());
        let all = self.weight_bytes + buffers + sampling;
        (all, self.backend.reserved_bytes(&step, &spec.rotary, &[]))
    }
}

fn options(size: CacheSize) -> EngineOptions {
    let mut options = EngineOptions::new("");
    options.cache.size = size;
    options
}

#[test]
fn what_steps_need_counts_beside_a_cache_of_all_that_is_left() {
    let model = Loaded::new(1024);
    let (needed, by_steps) = model.needs(1024);
    let size = CacheSize::Megabytes(4);
    assert!(model.fit(size, needed + 4 * MIB).is_ok());
    for missing in [MIB, by_steps] {
        let error = model.fit(size, needed + 4 * MIB - missing).unwrap_err().to_string();
        assert!(error.starts_with("the model needs ") && error.contains("memory are available"), "{error}");
    }
}

#[test]
fn an_automatic_cache_leaves_room_for_steps() {
    let model = Loaded::new(4096);
    let (needed, by_steps) = model.needs(4096);
    let (shape, limits) = model.fit(CacheSize::Auto, needed + 64 * MIB).unwrap();
    assert_eq!(limits.positions, 4096);
    let quarter =
        |left: u64| (left / 4 / model.backend.block_bytes(&KvCacheShape { blocks: 1, ..shape })) as usize;
    assert_eq!(shape.blocks, quarter(64 * MIB));
    assert!(shape.blocks < quarter(64 * MIB + by_steps));
}

#[test]
fn a_small_cache_asks_for_no_memory_for_long_sequences() {
    let model = Loaded::new(131_072);
    let (small, whole) = (model.needs(1024).0, model.needs(131_072).0);
    let size = CacheSize::ContextLen(1000);
    let (shape, limits) = model.fit(size, small + MIB).unwrap();
    assert_eq!((shape.blocks, limits.positions), (32, 1024));
    assert!(small + MIB < whole);
    let (_, limits) = model.fit(CacheSize::ContextLen(1 << 20), whole + (1 << 30)).unwrap();
    assert_eq!(limits.positions, 131_072);
}
