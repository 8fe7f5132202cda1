//! Which instruction set the kernels use. A value of [`Isa`] exists only for one that this processor has.

use std::fmt;

use thiserror::Error;

use super::linear::matrix_unit::MatrixCode;
#[cfg(target_arch = "x86_64")]
use super::linear::matrix_unit::amx;
#[cfg(test)]
use super::linear::matrix_unit::emulated::Emulated;
use super::simd::{self, Kernel};

/// An instruction set that this processor has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Isa(Level);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Level {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Amx,
    #[cfg(target_arch = "aarch64")]
    Neon,
    #[cfg(test)]
    EmulatedAmx,
}

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum IsaError {
    #[error("unknown instruction set `{0}`: expected portable, avx2, avx512, amx or neon")]
    Unknown(String),
    #[error("this processor lacks the instruction set `{0}`")]
    Missing(String),
}

impl Isa {
    /// Plain Rust, on every processor.
    pub const PORTABLE: Self = Self(Level::Portable);

    /// The vectors of `PORTABLE` with a matrix unit in plain Rust.
    #[cfg(test)]
    pub(crate) const EMULATED_AMX: Self = Self(Level::EmulatedAmx);

    /// All with a matrix unit: the emulation everywhere, then AMX where it is.
    #[cfg(test)]
    pub(crate) fn with_matrix_unit() -> Vec<Self> {
        let mut found = vec![Self::EMULATED_AMX];
        found.extend(Self::supported().into_iter().filter(|isa| isa.has_matrix_unit()));
        if found.len() == 1 {
            static TOLD: std::sync::Once = std::sync::Once::new();
            const REASON: &str = "AMX itself, which this processor or system lacks; the emulation is tested";
            TOLD.call_once(|| crate::skipped::tell(REASON));
        }
        found
    }

    /// The widest one.
    pub fn detect() -> Self {
        *Self::supported().last().expect("the portable one is always there")
    }

    /// All that this processor has, the slowest first.
    pub fn supported() -> Vec<Self> {
        let mut found = vec![Self::PORTABLE];
        #[cfg(target_arch = "x86_64")]
        {
            if simd::avx2::available() {
                found.push(Self(Level::Avx2));
            }
            if simd::avx512::available() {
                found.push(Self(Level::Avx512));
            }
            if amx::available() {
                found.push(Self(Level::Amx));
            }
        }
        #[cfg(target_arch = "aarch64")]
        if simd::neon::available() {
            found.push(Self(Level::Neon));
        }
        found
    }

    /// By its name: `portable`, `avx2`, `avx512`, `amx`, which is `avx512` with a matrix unit, or `neon`.
    pub fn from_name(name: &str) -> Result<Self, IsaError> {
        if let Some(isa) = Self::supported().into_iter().find(|isa| isa.name() == name) {
            return Ok(isa);
        }
        match name {
            "avx2" | "avx512" | "amx" | "neon" => Err(IsaError::Missing(name.to_owned())),
            _ => Err(IsaError::Unknown(name.to_owned())),
        }
    }

    pub fn name(self) -> &'static str {
        match self.0 {
            Level::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => "avx512",
            #[cfg(target_arch = "x86_64")]
            Level::Amx => "amx",
            #[cfg(target_arch = "aarch64")]
            Level::Neon => "neon",
            #[cfg(test)]
            Level::EmulatedAmx => "emulated amx",
        }
    }

    /// Whether dot products of bytes are instructions.
    pub(crate) fn has_dots(self) -> bool {
        self.run(Vectors).has_dots
    }

    /// Whether estimates of logits take less time than logits: with fewer registers their tiles have fewer rows, and nobody
    /// has measured.
    pub(crate) fn estimates_logits(self) -> bool {
        let vectors = self.run(Vectors);
        vectors.has_dots && vectors.registers >= 32
    }

    /// True if products with prompt rows keep a contract of their own: see `ops::linear::Split`.
    pub fn has_matrix_unit(self) -> bool {
        self.matrix_unit().is_some()
    }

    /// The code for rows of prompts, if this instruction set has a matrix unit.
    pub(crate) fn matrix_unit(self) -> Option<MatrixCode> {
        match self.0 {
            // SAFETY: `self` exists, so AMX is available.
            #[cfg(target_arch = "x86_64")]
            Level::Amx => Some(unsafe { MatrixCode::of::<simd::Avx512, amx::Amx>() }),
            // SAFETY: both are plain Rust.
            #[cfg(test)]
            Level::EmulatedAmx => Some(unsafe { MatrixCode::of::<simd::Portable, Emulated>() }),
            _ => None,
        }
    }

    /// Runs the version of `kernel` for this instruction set.
    #[inline]
    pub fn run<K: Kernel>(self, kernel: K) -> K::Output {
        use simd::Simd16;
        // SAFETY: `self` exists, so the processor has the instruction set.
        unsafe {
            match self.0 {
                Level::Portable => simd::Portable::call(kernel),
                #[cfg(target_arch = "x86_64")]
                Level::Avx2 => simd::Avx2::call(kernel),
                #[cfg(target_arch = "x86_64")]
                Level::Avx512 | Level::Amx => simd::Avx512::call(kernel),
                #[cfg(target_arch = "aarch64")]
                Level::Neon => simd::Neon::call(kernel),
                #[cfg(test)]
                Level::EmulatedAmx => simd::Portable::call(kernel),
            }
        }
    }
}

/// Asks for what kernels know of their vectors.
struct Vectors;

struct VectorFacts {
    has_dots: bool,
    registers: usize,
}

impl Kernel for Vectors {
    type Output = VectorFacts;

    #[inline(always)]
    unsafe fn run<S: simd::Simd16>(self) -> VectorFacts {
        VectorFacts { has_dots: S::HAS_DOTS, registers: S::REGISTERS }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_what_is_supported() {
        for isa in Isa::supported() {
            assert_eq!(Isa::from_name(isa.name()), Ok(isa));
        }
        assert_eq!(Isa::from_name("mmx"), Err(IsaError::Unknown("mmx".into())));
    }
}
