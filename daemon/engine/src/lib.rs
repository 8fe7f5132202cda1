//! Weights, tensors, tokens, schedule, sampling.
