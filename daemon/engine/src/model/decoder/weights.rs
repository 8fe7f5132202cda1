//! The decoder's weights on their device, packed one tensor after another from the model's files.

use crate::backend::{Backend, BackendError};
use crate::model::roles::{self, DecoderTensors, LayerTensors};
use crate::weights::TensorView;

pub struct DecoderWeights<B: Backend> {
    /// `None`: the head serves.
    pub embedding: Option<B::Embedding>,
    pub layers: Vec<LayerWeights<B>>,
    pub final_norm: B::Vector,
    pub head: B::Head,
}

pub struct LayerWeights<B: Backend> {
    pub attention_norm: B::Vector,
    pub query: B::Matrix,
    pub key: B::Matrix,
    pub value: B::Matrix,
    /// Of query, key and value, one after another.
    pub qkv_bias: Option<B::Vector>,
    pub head_norms: Option<(B::Vector, B::Vector)>,
    pub output: B::Matrix,
    pub output_bias: Option<B::Vector>,
    pub mlp_norm: B::Vector,
    pub gate: B::Matrix,
    pub up: B::Matrix,
    pub down: B::Matrix,
}

/// Why weights cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    #[error(transparent)]
    Refused(BackendError),
    #[error("cannot place the weights")]
    Backend(#[source] BackendError),
}

impl From<BackendError> for WeightsError {
    fn from(error: BackendError) -> Self {
        match error {
            BackendError::NotFinite { .. } | BackendError::Unsupported { .. } => Self::Refused(error),
            _ => Self::Backend(error),
        }
    }
}

impl<B: Backend> DecoderWeights<B> {
    /// Tells `report` how many bytes of the file are packed.
    pub fn load(
        backend: &mut B,
        tensors: &DecoderTensors<'_>,
        report: &mut dyn FnMut(u64),
    ) -> Result<Self, WeightsError> {
        let mut loader = Loader { backend, report, done: 0 };
        let table = &tensors.embedding;
        tensors.read_ahead_outside();
        tensors.read_ahead(0);
        Ok(DecoderWeights {
            embedding: tensors.head.as_ref().map(|head| loader.embedding(table, head)).transpose()?,
            layers: (tensors.layers.iter().enumerate())
                .map(|(index, layer)| {
                    tensors.read_ahead(index + 1);
                    loader.layer(layer)
                })
                .collect::<Result<_, _>>()?,
            final_norm: loader.vector(&tensors.final_norm)?,
            head: loader.head(tensors.head.as_ref().unwrap_or(table))?,
        })
    }

    /// Of the packed matrices.
    pub fn bytes(&self, backend: &B) -> u64 {
        let layer = |layer: &LayerWeights<B>| {
            let LayerWeights { query, key, value, output, gate, up, down, .. } = layer;
            [query, key, value, output, gate, up, down]
                .map(|matrix| backend.matrix_bytes(matrix))
                .iter()
                .sum::<u64>()
        };
        let head = backend.head_bytes(&self.head);
        self.embedding_bytes(backend) + head + self.layers.iter().map(layer).sum::<u64>()
    }

    /// Of the matrices that a step reads whole: of an embedding with a head of its own it reads some rows.
    pub fn step_bytes(&self, backend: &B) -> u64 {
        self.bytes(backend) - self.embedding_bytes(backend)
    }

    fn embedding_bytes(&self, backend: &B) -> u64 {
        self.embedding.as_ref().map_or(0, |table| backend.embedding_bytes(table))
    }
}

struct Loader<'a, B: Backend> {
    backend: &'a mut B,
    report: &'a mut dyn FnMut(u64),
    done: u64,
}

impl<B: Backend> Loader<'_, B> {
    fn layer(&mut self, tensors: &LayerTensors<'_>) -> Result<LayerWeights<B>, WeightsError> {
        let LayerTensors { query, key, value, output, .. } = tensors;
        let (gate, up) = (self.matrix(&tensors.gate)?, self.matrix(&tensors.up)?);
        self.backend.check_gated(&gate, &up)?;
        Ok(LayerWeights {
            attention_norm: self.vector(&tensors.attention_norm)?,
            query: self.matrix(&query.weight)?,
            key: self.matrix(&key.weight)?,
            value: self.matrix(&value.weight)?,
            qkv_bias: self.bias(&[query, key, value])?,
            head_norms: match (&tensors.query_norm, &tensors.key_norm) {
                (Some(query), Some(key)) => Some((self.vector(query)?, self.vector(key)?)),
                _ => None,
            },
            output: self.matrix(&output.weight)?,
            output_bias: self.bias(&[output])?,
            mlp_norm: self.vector(&tensors.mlp_norm)?,
            gate,
            up,
            down: self.matrix(&tensors.down)?,
        })
    }

    fn matrix(&mut self, tensor: &TensorView<'_>) -> Result<B::Matrix, WeightsError> {
        let matrix = self.backend.load_matrix(tensor)?;
        self.count(tensor);
        Ok(matrix)
    }

    fn head(&mut self, tensor: &TensorView<'_>) -> Result<B::Head, WeightsError> {
        let head = self.backend.load_head(tensor)?;
        self.count(tensor);
        Ok(head)
    }

    fn embedding(
        &mut self,
        table: &TensorView<'_>,
        head: &TensorView<'_>,
    ) -> Result<B::Embedding, WeightsError> {
        let loaded = self.backend.load_embedding(table, head)?;
        self.count(table);
        Ok(loaded)
    }

    fn vector(&mut self, tensor: &TensorView<'_>) -> Result<B::Vector, WeightsError> {
        check_finite(tensor)?;
        self.count(tensor);
        Ok(self.backend.load_vector(tensor.to_f32())?)
    }

    /// The biases of projections whose outputs lie side by side; all have one or none has.
    fn bias(&mut self, projections: &[&roles::Projection<'_>]) -> Result<Option<B::Vector>, WeightsError> {
        let mut values = Vec::new();
        for tensor in projections.iter().filter_map(|projection| projection.bias.as_ref()) {
            check_finite(tensor)?;
            self.count(tensor);
            values.extend(tensor.to_f32());
        }
        match values.is_empty() {
            true => Ok(None),
            false => Ok(Some(self.backend.load_vector(values)?)),
        }
    }

    fn count(&mut self, tensor: &TensorView<'_>) {
        self.done += tensor.bytes.len() as u64;
        (self.report)(self.done);
    }
}

fn check_finite(tensor: &TensorView<'_>) -> Result<(), BackendError> {
    match tensor.first_non_finite() {
        None => Ok(()),
        Some(offset) => Err(BackendError::NotFinite { name: tensor.name.to_owned(), offset }),
    }
}
