//! The one decoder: runs any `DecoderSpec` on any backend. Reads top to bottom, as the arithmetic goes.
//!
//! Weights and buffers are made once, at load; a step allocates nothing.

mod step_rows;
mod weights;

use crate::backend::{
    Backend, BackendError, Batch, Embeddings, Gated, HeadNorms, HeadShape, Kept, KvCacheShape, LayerPlace,
    Normed, Plain, Projection, Queued, RowsUse, StepLimits, Work,
};
use crate::forward::{ForwardError, Logits, Model};
use crate::model::roles::DecoderTensors;
use crate::model::spec::DecoderSpec;
use crate::schedule::StepPlan;
use step_rows::{StepBatch, StepRows};

pub use weights::{DecoderWeights, LayerWeights, WeightsError};

pub struct Decoder<B: Backend> {
    backend: B,
    spec: DecoderSpec,
    shape: HeadShape,
    weights: DecoderWeights<B>,
    rotary: B::Rotary,
    cache: B::Cache,
    buffers: Buffers<B>,
    step: StepRows,
}

/// The largest step, and the longest sequence.
#[derive(Clone, Copy, Debug)]
pub struct DecoderLimits {
    pub rows: usize,
    pub sampled: usize,
    pub positions: usize,
    /// Of the cache.
    pub block_size: usize,
}

/// Activations of a step, one row a token.
struct Buffers<B: Backend> {
    /// The residual stream.
    hidden: B::Rows,
    /// Queries, keys and values side by side.
    qkv: B::Rows,
    attended: B::Rows,
    gated: B::Rows,
    logits: B::Rows,
}

impl<B: Backend> Decoder<B> {
    pub fn new(
        mut backend: B,
        spec: DecoderSpec,
        weights: DecoderWeights<B>,
        cache: &KvCacheShape,
        limits: DecoderLimits,
    ) -> Result<Self, BackendError> {
        let shape = head_shape(&spec);
        backend.reserve(&step_limits(&spec, limits))?;
        let mut buffers = buffer_shapes(&spec, limits).into_iter();
        let mut next = || {
            let (rows, width, rows_use) = buffers.next().expect("there are five buffers");
            backend.allocate_rows(rows, width, rows_use)
        };
        Ok(Decoder {
            buffers: Buffers {
                hidden: next()?,
                qkv: next()?,
                attended: next()?,
                gated: next()?,
                logits: next()?,
            },
            rotary: backend.load_rotary(&spec.rotary, limits.positions)?,
            cache: backend.allocate_cache(cache)?,
            step: StepRows::for_rows(limits.rows),
            backend,
            spec,
            shape,
            weights,
        })
    }

    /// What `new` allocates beside the cache: activations, and what steps need.
    pub fn buffer_bytes(
        backend: &B,
        spec: &DecoderSpec,
        limits: DecoderLimits,
        tensors: &DecoderTensors<'_>,
    ) -> u64 {
        let matrices: Vec<_> = tensors.layer_matrices().collect();
        let bytes = |(rows, width, rows_use)| backend.rows_bytes(rows, width, rows_use);
        let reserved = backend.reserved_bytes(&step_limits(spec, limits), &spec.rotary, &matrices);
        buffer_shapes(spec, limits).map(bytes).into_iter().fold(reserved, u64::saturating_add)
    }

    fn run(&mut self, step: &StepBatch<'_>) {
        let mut batch = &step.all;
        let from = Embeddings { table: self.weights.embedding.as_ref(), head: &self.weights.head };
        self.backend.embed(from, batch, &mut self.buffers.hidden);
        for layer in 0..self.weights.layers.len() {
            self.store(layer, batch);
            if layer + 1 == self.weights.layers.len() {
                batch = self.keep_sampled(step);
            }
            if !batch.places.is_empty() {
                self.attend(layer, batch);
                self.transform(layer, batch);
            }
        }
        let input = Normed {
            batch,
            x: &self.buffers.hidden,
            weight: &self.weights.final_norm,
            eps: self.spec.norm_eps,
        };
        self.backend.logits(input, &self.weights.head, &mut self.buffers.logits);
    }

    /// Once the last layer's keys and values are stored, nobody reads rows that are not sampled. (Their queries are
    /// computed all the same, in one product with the keys and values.)
    fn keep_sampled<'a>(&mut self, step: &'a StepBatch<'a>) -> &'a Batch<'a> {
        let StepBatch { all, sampled } = step;
        if sampled.places.len() == all.places.len() {
            return all;
        }
        let Buffers { qkv, hidden, .. } = &mut self.buffers;
        match self.backend.keep_rows([qkv, hidden], all.sampled) {
            Kept::Listed => sampled,
            Kept::All => all,
        }
    }

    /// Norm, query-key-value, rotary, cache.
    fn store(&mut self, layer: usize, batch: &Batch<'_>) {
        let Decoder { backend, buffers, cache, shape, .. } = self;
        let weights = &self.weights.layers[layer];
        let eps = self.spec.norm_eps;

        let input = Normed { batch, x: &buffers.hidden, weight: &weights.attention_norm, eps };
        let parts = [&weights.query, &weights.key, &weights.value];
        let bias = weights.qkv_bias.as_ref();
        backend.linear(input, &Projection { parts: &parts, bias }, &mut buffers.qkv);
        if let Some((query, key)) = &weights.head_norms {
            backend.norm_heads(&mut buffers.qkv, shape, &HeadNorms { query, key, eps });
        }
        let place = LayerPlace { batch, shape, rotary: &self.rotary, layer };
        backend.rotary_and_store(&mut buffers.qkv, &place, cache);
    }

    /// Attention, output projection onto the residual stream.
    fn attend(&mut self, layer: usize, batch: &Batch<'_>) {
        let Decoder { backend, buffers, cache, shape, .. } = self;
        let weights = &self.weights.layers[layer];
        let place = LayerPlace { batch, shape, rotary: &self.rotary, layer };
        backend.attention(&buffers.qkv, &place, cache, &mut buffers.attended);
        let output = Projection { parts: &[&weights.output], bias: weights.output_bias.as_ref() };
        backend.linear_add(Plain { batch, x: &buffers.attended }, &output, &mut buffers.hidden);
    }

    /// Norm, gated MLP, down projection onto the residual stream.
    fn transform(&mut self, layer: usize, batch: &Batch<'_>) {
        let Decoder { backend, buffers, .. } = self;
        let weights = &self.weights.layers[layer];
        let input = Normed { batch, x: &buffers.hidden, weight: &weights.mlp_norm, eps: self.spec.norm_eps };
        let gated = Gated { gate: &weights.gate, up: &weights.up, activation: self.spec.activation };
        backend.gated_linear(input, &gated, &mut buffers.gated);
        let down = Projection { parts: &[&weights.down], bias: None };
        backend.linear_add(Plain { batch, x: &buffers.gated }, &down, &mut buffers.hidden);
    }
}

impl<B: Backend> Model for Decoder<B> {
    fn forward(&mut self, plan: &StepPlan) -> Result<Logits<'_>, ForwardError> {
        for copy in plan.copies() {
            self.backend.copy_block(&mut self.cache, *copy);
        }
        let mut step = std::mem::take(&mut self.step);
        let begun = step.with_batch(plan, |step| {
            if self.backend.begin(&step.all)? == Work::Operations {
                self.run(step);
                if self.backend.queued() == Queued::Again {
                    self.run(step);
                }
            }
            Ok(())
        });
        self.step = step;
        begun?;
        self.backend.read(&mut self.buffers.logits)
    }
}

/// (rows, width, use) of `Buffers`, in their order.
fn buffer_shapes(spec: &DecoderSpec, limits: DecoderLimits) -> [(usize, usize, RowsUse); 5] {
    let shape = head_shape(spec);
    let DecoderLimits { rows, sampled, .. } = limits;
    [
        (rows, spec.hidden, RowsUse::Residual),
        (rows, shape.qkv_width(), RowsUse::Sums),
        (rows, shape.out_width(), RowsUse::Factors),
        (rows, spec.intermediate, RowsUse::Factors),
        (sampled, spec.vocab, RowsUse::Sums),
    ]
}

fn step_limits(spec: &DecoderSpec, limits: DecoderLimits) -> StepLimits {
    let DecoderLimits { rows, sampled, positions, block_size } = limits;
    StepLimits { rows, sampled, positions, block_size, hidden: spec.hidden, shape: head_shape(spec) }
}

fn head_shape(spec: &DecoderSpec) -> HeadShape {
    HeadShape {
        query_heads: spec.heads,
        kv_heads: spec.kv_heads,
        head_dim: spec.head_dim,
        scale: spec.attention_scale,
    }
}
