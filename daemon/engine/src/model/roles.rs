//! Which tensor plays which role in the decoder, with its shape checked against the spec.
//!
//! Reads no weights, but a tied head's copy. A tensor that no role wants is an error: the model would have a part the decoder
//! leaves out, and answer wrongly.

use std::cell::RefCell;
use std::collections::BTreeSet;

use super::families::{Family, TensorNames};
use super::spec::DecoderSpec;
use crate::weights::{ModelFiles, TensorView, WeightType};

/// All tensors of a decoder. Matrices are `outputs x inputs`, biases and norms vectors of F32, F16 or
/// BF16.
#[derive(Clone, Debug)]
pub struct DecoderTensors<'a> {
    /// `vocab x hidden`.
    pub embedding: TensorView<'a>,
    pub layers: Vec<LayerTensors<'a>>,
    pub final_norm: TensorView<'a>,
    /// `vocab x hidden`; `None` when the embedding serves.
    pub head: Option<TensorView<'a>>,
    files: &'a ModelFiles,
}

#[derive(Clone, Debug)]
pub struct LayerTensors<'a> {
    pub attention_norm: TensorView<'a>,
    pub query: Projection<'a>,
    pub key: Projection<'a>,
    pub value: Projection<'a>,
    pub output: Projection<'a>,
    /// Of a head's length; with `qk_norm`.
    pub query_norm: Option<TensorView<'a>>,
    pub key_norm: Option<TensorView<'a>>,
    pub mlp_norm: TensorView<'a>,
    pub gate: TensorView<'a>,
    pub up: TensorView<'a>,
    pub down: TensorView<'a>,
}

/// A linear map with an optional bias.
#[derive(Clone, Debug)]
pub struct Projection<'a> {
    pub weight: TensorView<'a>,
    pub bias: Option<TensorView<'a>>,
}

/// Why the tensors are not those of the spec.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum RoleError {
    #[error("the model has no tensor {0:?}")]
    Missing(String),
    #[error("tensor {name:?} has shape {found:?}, expected {expected:?}")]
    Shape { name: String, found: Vec<usize>, expected: Vec<usize> },
    #[error("tensor {name:?} has type {dtype}, expected F32, F16 or BF16")]
    QuantisedVector { name: String, dtype: WeightType },
    #[error("tensor {0:?} has no role in this architecture")]
    Unknown(String),
}

impl<'a> DecoderTensors<'a> {
    /// Finds every tensor that `spec` asks for, and no other.
    pub fn find(files: &'a ModelFiles, family: &Family, spec: &DecoderSpec) -> Result<Self, RoleError> {
        let names = family.tensor_names(files);
        let finder = Finder { files, names, spec, found: RefCell::default() };
        let embedding = finder.matrix(&format!("{}.weight", names.embedding), spec.vocab, spec.hidden)?;
        let head = finder.head(&embedding)?;
        let tensors = DecoderTensors {
            embedding,
            layers: (0..spec.layers).map(|layer| finder.layer(layer)).collect::<Result<_, _>>()?,
            final_norm: finder.vector(&format!("{}.weight", names.final_norm), spec.hidden)?,
            head,
            files,
        };
        finder.refuse_unknown()?;
        Ok(tensors)
    }

    /// Begins to read what is not in a layer.
    pub fn read_ahead_outside(&self) {
        let outside = [Some(&self.embedding), self.head.as_ref()];
        outside.into_iter().flatten().for_each(|matrix| self.files.read_ahead(matrix));
    }

    /// Begins to read a layer's matrices, if there is such a layer; what else a layer has is small.
    pub fn read_ahead(&self, layer: usize) {
        let layer = self.layers.get(layer).into_iter();
        layer.flat_map(LayerTensors::matrices).for_each(|matrix| self.files.read_ahead(matrix));
    }

    /// Every tensor once.
    pub fn all(&self) -> impl Iterator<Item = &TensorView<'a>> {
        [&self.embedding, &self.final_norm].into_iter().chain(&self.head).chain(self.of_layers())
    }

    /// All but embedding, head and the last norm.
    pub fn of_layers(&self) -> impl Iterator<Item = &TensorView<'a>> {
        self.layers.iter().flat_map(|layer| layer.matrices().into_iter().chain(layer.vectors()))
    }

    /// All but embedding and head.
    pub fn layer_matrices(&self) -> impl Iterator<Item = &TensorView<'a>> {
        self.layers.iter().flat_map(LayerTensors::matrices)
    }
}

impl<'a> LayerTensors<'a> {
    fn matrices(&self) -> [&TensorView<'a>; 7] {
        let LayerTensors { query, key, value, output, gate, up, down, .. } = self;
        [&query.weight, &key.weight, &value.weight, &output.weight, gate, up, down]
    }

    fn vectors(&self) -> impl Iterator<Item = &TensorView<'a>> {
        let projections = [&self.query, &self.key, &self.value, &self.output];
        let biases = projections.into_iter().filter_map(|projection| projection.bias.as_ref());
        let head_norms = [&self.query_norm, &self.key_norm].into_iter().flatten();
        [&self.attention_norm, &self.mlp_norm].into_iter().chain(biases).chain(head_norms)
    }
}

struct Finder<'a, 's> {
    files: &'a ModelFiles,
    names: &'static TensorNames,
    spec: &'s DecoderSpec,
    found: RefCell<BTreeSet<&'a str>>,
}

/// Whether the spec has a tensor.
#[derive(Clone, Copy, PartialEq)]
enum Wanted {
    Yes,
    No,
}

impl From<bool> for Wanted {
    fn from(wanted: bool) -> Self {
        if wanted { Wanted::Yes } else { Wanted::No }
    }
}

impl<'a> Finder<'a, '_> {
    fn layer(&self, layer: usize) -> Result<LayerTensors<'a>, RoleError> {
        let (names, spec) = (self.names, self.spec);
        let prefix = format!("{}{layer}.", names.layer_prefix);
        let name = |role: &str| format!("{prefix}{role}");
        let weight = |role: &str| format!("{prefix}{role}.weight");
        let (query_rows, kv_rows) = (spec.heads * spec.head_dim, spec.kv_heads * spec.head_dim);
        let (qkv_bias, output_bias) = (spec.qkv_bias.into(), spec.output_bias.into());
        Ok(LayerTensors {
            attention_norm: self.vector(&weight(names.attention_norm), spec.hidden)?,
            query: self.projection(&name(names.query), [query_rows, spec.hidden], qkv_bias)?,
            key: self.projection(&name(names.key), [kv_rows, spec.hidden], qkv_bias)?,
            value: self.projection(&name(names.value), [kv_rows, spec.hidden], qkv_bias)?,
            output: self.projection(&name(names.output), [spec.hidden, query_rows], output_bias)?,
            query_norm: self.optional_vector(
                &weight(names.query_norm),
                spec.head_dim,
                spec.qk_norm.into(),
            )?,
            key_norm: self.optional_vector(&weight(names.key_norm), spec.head_dim, spec.qk_norm.into())?,
            mlp_norm: self.vector(&weight(names.mlp_norm), spec.hidden)?,
            gate: self.matrix(&weight(names.gate), spec.intermediate, spec.hidden)?,
            up: self.matrix(&weight(names.up), spec.intermediate, spec.hidden)?,
            down: self.matrix(&weight(names.down), spec.hidden, spec.intermediate)?,
        })
    }

    fn head(&self, embedding: &TensorView<'a>) -> Result<Option<TensorView<'a>>, RoleError> {
        let name = format!("{}.weight", self.names.head);
        if self.spec.tied_head {
            // Some writers store the tied matrix twice. Where training has parted the two, the head is what was trained.
            let Some(head) = self.files.tensor(&name) else { return Ok(None) };
            if embedding.has_numbers_of(&head) {
                self.found.borrow_mut().insert(head.name);
                return Ok(None);
            }
        }
        self.matrix(&name, self.spec.vocab, self.spec.hidden).map(Some)
    }

    fn projection(
        &self,
        name: &str,
        [rows, columns]: [usize; 2],
        bias: Wanted,
    ) -> Result<Projection<'a>, RoleError> {
        Ok(Projection {
            weight: self.matrix(&format!("{name}.weight"), rows, columns)?,
            bias: self.optional_vector(&format!("{name}.bias"), rows, bias)?,
        })
    }

    fn matrix(&self, name: &str, rows: usize, columns: usize) -> Result<TensorView<'a>, RoleError> {
        self.tensor(name, vec![rows, columns])
    }

    fn optional_vector(
        &self,
        name: &str,
        length: usize,
        wanted: Wanted,
    ) -> Result<Option<TensorView<'a>>, RoleError> {
        match wanted {
            Wanted::Yes => self.vector(name, length).map(Some),
            Wanted::No => Ok(None),
        }
    }

    fn vector(&self, name: &str, length: usize) -> Result<TensorView<'a>, RoleError> {
        let tensor = self.tensor(name, vec![length])?;
        match tensor.dtype {
            WeightType::F32 | WeightType::F16 | WeightType::BF16 => Ok(tensor),
            dtype => Err(RoleError::QuantisedVector { name: name.into(), dtype }),
        }
    }

    fn tensor(&self, name: &str, expected: Vec<usize>) -> Result<TensorView<'a>, RoleError> {
        let tensor = self.files.tensor(name).ok_or_else(|| RoleError::Missing(name.into()))?;
        if tensor.shape != expected {
            return Err(RoleError::Shape { name: name.into(), found: tensor.shape, expected });
        }
        self.found.borrow_mut().insert(tensor.name);
        Ok(tensor)
    }

    fn refuse_unknown(&self) -> Result<(), RoleError> {
        let found = self.found.borrow();
        let redundant = |name: &str| self.names.redundant.iter().any(|end| name.ends_with(end));
        let unknown =
            self.files.tensor_names().into_iter().find(|&name| !found.contains(name) && !redundant(name));
        unknown.map_or(Ok(()), |name| Err(RoleError::Unknown(name.into())))
    }
}
