//! What the engine says in the kernels' types, and their errors in the engine's.

use ostro_kernels::cuda::{self, CudaError, Linear, MatrixError, NormInput};

use super::CudaBackend;
use crate::backend::{BackendError, Normed, Projection, RowsUse, StepLimits};
use crate::forward::ForwardError;
use crate::model::spec::Activation;
use crate::weights::TensorView;

pub(super) fn device(error: CudaError) -> BackendError {
    BackendError::Device(Box::new(error))
}

pub(super) fn failed(error: CudaError) -> ForwardError {
    ForwardError { operation: "a step on the GPU", reason: error.to_string(), is_lost: error.is_lost() }
}

pub(super) fn not_loaded(error: MatrixError, tensor: &TensorView<'_>) -> BackendError {
    match (error, tensor.name.to_owned()) {
        (MatrixError::NotFinite { offset }, name) => BackendError::NotFinite { name, offset },
        (source, name) => BackendError::Pack { name, source: source.into() },
    }
}

pub(super) fn rows_use(rows_use: RowsUse) -> cuda::RowsUse {
    match rows_use {
        RowsUse::Residual => cuda::RowsUse::Residual,
        RowsUse::Sums => cuda::RowsUse::Sums,
        RowsUse::Factors => cuda::RowsUse::Factors,
    }
}

pub(super) fn limits(limits: &StepLimits) -> cuda::StepLimits {
    let StepLimits { rows, sampled, positions, block_size, hidden: _, shape } = *limits;
    cuda::StepLimits { rows, sampled, positions, block_size, shape }
}

pub(super) fn matrix_shape(tensor: &TensorView<'_>) -> [usize; 2] {
    let &[rows, columns] = tensor.shape.as_slice() else {
        unreachable!("`DecoderTensors` checked that matrices have two dimensions");
    };
    [rows, columns]
}

pub(super) fn activation(activation: Activation) -> cuda::Activation {
    match activation {
        Activation::Silu => cuda::Activation::Silu,
        Activation::Gelu => cuda::Activation::Gelu,
        Activation::GeluTanh => cuda::Activation::GeluTanh,
        Activation::Relu => cuda::Activation::Relu,
    }
}

pub(super) fn normed<'a>(input: &Normed<'a, CudaBackend>) -> NormInput<'a> {
    NormInput { x: input.x, weight: input.weight, eps: input.eps }
}

pub(super) fn linear<'a>(projection: &Projection<'a, CudaBackend>) -> Linear<'a> {
    Linear { parts: projection.parts, bias: projection.bias }
}
