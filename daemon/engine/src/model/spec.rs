//! `DecoderSpec`: everything that distinguishes one decoder from another, as data.
//!
//! Families build it from a file's settings; the one decoder runs it. Nothing here reads files.

/// A causal text decoder. Sizes are element counts.
#[derive(Clone, Debug, PartialEq)]
pub struct DecoderSpec {
    /// The family's name, as GGUF has it: `llama`, `qwen2`, `qwen3`.
    pub architecture: String,
    pub layers: usize,
    pub hidden: usize,
    /// Query heads; a multiple of `kv_heads`.
    pub heads: usize,
    pub kv_heads: usize,
    /// Need not be `hidden / heads`.
    pub head_dim: usize,
    pub intermediate: usize,
    pub vocab: usize,
    /// Positions the model was trained for.
    pub context_length: usize,
    pub norm_eps: f32,
    pub rotary: Rotary,
    pub activation: Activation,
    /// Query, key and value projections have biases.
    pub qkv_bias: bool,
    /// The attention's output projection has a bias.
    pub output_bias: bool,
    /// Queries and keys are normalised per head before the rotary embedding.
    pub qk_norm: bool,
    /// The embedding is the output matrix too, unless the files have another one.
    pub tied_head: bool,
    /// Multiplies query · key.
    pub attention_scale: f32,
}

/// Rotary position embedding.
#[derive(Clone, Debug, PartialEq)]
pub struct Rotary {
    pub theta: f64,
    /// The first `dims` of each head turn; even, at most `head_dim`.
    pub dims: usize,
    pub style: RotaryStyle,
    pub scaling: RotaryScaling,
}

/// Which two dimensions turn together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RotaryStyle {
    /// `i` with `i + dims / 2`, as GPT-NeoX.
    Halves,
    /// `2 i` with `2 i + 1`, as the original paper.
    Interleaved,
}

/// How the frequencies are stretched for contexts longer than in training.
#[derive(Clone, Debug, PartialEq)]
pub enum RotaryScaling {
    None,
    /// Every frequency divided by the factor (Chen et al. 2023, position interpolation).
    Linear {
        factor: f64,
    },
    /// Low frequencies divided by the factor, high ones kept, a blend between (Llama 3.1).
    Llama3(Llama3Scaling),
    /// Each frequency divided by its own factor, `dims / 2` of them, as a GGUF file stores them.
    Factors(Vec<f32>),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Llama3Scaling {
    pub factor: f64,
    pub low_frequency_factor: f64,
    pub high_frequency_factor: f64,
    /// Context length of the training before the stretch.
    pub original_context: f64,
}

/// The function between the two halves of the gated MLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    Silu,
    Gelu,
    GeluTanh,
    Relu,
}

/// A size or number that the decoder cannot run with.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{what} is {value}, allowed is {allowed}")]
pub struct SpecError {
    pub what: &'static str,
    pub value: String,
    pub allowed: String,
}

impl DecoderSpec {
    /// Checks what holds for every decoder, so that later code may rely on it.
    pub fn check(&self) -> Result<(), SpecError> {
        const SIZE_MAX: usize = 1 << 20;
        within("the number of layers", self.layers, 1, 1024)?;
        within("the hidden size", self.hidden, 1, SIZE_MAX)?;
        within("the number of heads", self.heads, 1, 4096)?;
        within("the number of key-value heads", self.kv_heads, 1, self.heads)?;
        within("the size of a head", self.head_dim, 8, 256)?;
        within("the intermediate size", self.intermediate, 1, SIZE_MAX)?;
        within("the vocabulary", self.vocab, 1, 1 << 24)?;
        within("the context length", self.context_length, 1, 1 << 27)?;
        require("the number of heads", self.heads, self.heads.is_multiple_of(self.kv_heads), || {
            format!("a multiple of the {} key-value heads", self.kv_heads)
        })?;
        require("the size of a head", self.head_dim, self.head_dim.is_multiple_of(8), || {
            "a multiple of 8".into()
        })?;
        let eps_fits = self.norm_eps > 0.0 && self.norm_eps < 1.0;
        require("the epsilon of the norms", self.norm_eps, eps_fits, || "above 0 and below 1".into())?;
        let scale = self.attention_scale;
        require("the attention scale", scale, scale > 0.0 && scale.is_finite(), || {
            "finite and above 0".into()
        })?;
        self.rotary.check(self.head_dim)
    }
}

impl Rotary {
    /// Radians a position advances each pair of dimensions, `dims / 2` of them, after scaling.
    pub fn frequencies(&self) -> Vec<f32> {
        let pair_count = self.dims / 2;
        let frequency = |pair: usize| self.theta.powf(-((2 * pair) as f64) / self.dims as f64);
        (0..pair_count).map(|pair| self.scaling.apply(pair, frequency(pair)) as f32).collect()
    }

    fn check(&self, head_dim: usize) -> Result<(), SpecError> {
        let theta_fits = self.theta >= 1.0 && self.theta.is_finite();
        require("the rotary base", self.theta, theta_fits, || "finite and at least 1".into())?;
        let dims_fit = self.dims.is_multiple_of(2) && (2..=head_dim).contains(&self.dims);
        require("the number of rotary dimensions", self.dims, dims_fit, || {
            format!("even and at most the head's {head_dim}")
        })?;
        self.scaling.check(self.dims)
    }
}

impl RotaryScaling {
    fn apply(&self, pair: usize, frequency: f64) -> f64 {
        match self {
            RotaryScaling::None => frequency,
            RotaryScaling::Linear { factor } => frequency / factor,
            RotaryScaling::Llama3(scaling) => scaling.apply(frequency),
            RotaryScaling::Factors(factors) => frequency / f64::from(factors[pair]),
        }
    }

    /// Of `Factors`, also before they are read.
    pub fn check_factor_count(count: usize, dims: usize) -> Result<(), SpecError> {
        require("the number of rotary factors", count, count == dims / 2, || {
            format!("{}, one for each pair of rotary dimensions", dims / 2)
        })
    }

    fn check(&self, dims: usize) -> Result<(), SpecError> {
        match self {
            RotaryScaling::None => Ok(()),
            RotaryScaling::Linear { factor } => positive("the rotary scaling factor", *factor),
            RotaryScaling::Llama3(scaling) => scaling.check(),
            RotaryScaling::Factors(factors) => {
                RotaryScaling::check_factor_count(factors.len(), dims)?;
                factors.iter().try_for_each(|&factor| positive("a rotary factor", f64::from(factor)))
            }
        }
    }
}

impl Llama3Scaling {
    /// Meta's `apply_scaling`: by wavelength against the original context.
    fn apply(&self, frequency: f64) -> f64 {
        let turns = self.original_context * frequency / std::f64::consts::TAU;
        if turns > self.high_frequency_factor {
            return frequency;
        }
        if turns < self.low_frequency_factor {
            return frequency / self.factor;
        }
        let span = self.high_frequency_factor - self.low_frequency_factor;
        let kept = (turns - self.low_frequency_factor) / span;
        (1.0 - kept) * frequency / self.factor + kept * frequency
    }

    fn check(&self) -> Result<(), SpecError> {
        positive("the rotary scaling factor", self.factor)?;
        positive("the low frequency factor", self.low_frequency_factor)?;
        positive("the high frequency factor", self.high_frequency_factor)?;
        positive("the original context length", self.original_context)?;
        let ordered = self.high_frequency_factor > self.low_frequency_factor;
        require("the high frequency factor", self.high_frequency_factor, ordered, || {
            format!("above the low frequency factor {}", self.low_frequency_factor)
        })
    }
}

fn within(what: &'static str, value: usize, min: usize, max: usize) -> Result<(), SpecError> {
    require(what, value, (min..=max).contains(&value), || format!("{min} to {max}"))
}

fn positive(what: &'static str, value: f64) -> Result<(), SpecError> {
    require(what, value, value > 0.0 && value.is_finite(), || "finite and above 0".into())
}

fn require(
    what: &'static str,
    value: impl ToString,
    holds: bool,
    allowed: impl FnOnce() -> String,
) -> Result<(), SpecError> {
    match holds {
        true => Ok(()),
        false => Err(SpecError { what, value: value.to_string(), allowed: allowed() }),
    }
}

#[cfg(test)]
mod tests;
