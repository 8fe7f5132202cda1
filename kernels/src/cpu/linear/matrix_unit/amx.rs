//! The registers of AMX by inline assembly: Rust has no stable intrinsics for them.
//!
//! The compiler never allocates these registers, so they are not named as clobbers; `asm!` blocks keep their
//! order, and none is `nomem` that reads or writes memory.

use std::arch::asm;
use std::arch::x86_64::__cpuid_count;
use std::sync::OnceLock;

use super::{MatrixUnit, SHAPES};

/// Bytes between a register's rows in memory.
const STRIDE: usize = 64;

/// AMX with products of int8 and of bf16.
pub(crate) struct Amx;

/// True if the processor has it and Linux lets this process use it, which is asked once.
pub(crate) fn available() -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    *ANSWER.get_or_init(|| crate::cpu::simd::avx512::available() && has_tiles() && request_permission())
}

fn has_tiles() -> bool {
    const AMX_BF16: u32 = 1 << 22;
    const AMX_TILE: u32 = 1 << 24;
    const AMX_INT8: u32 = 1 << 25;
    let all = AMX_BF16 | AMX_TILE | AMX_INT8;
    // Leaf 7 exists: AVX-512 is there, and is reported in it.
    __cpuid_count(7, 0).edx & all == all
}

/// Linux saves the 8 KiB of registers only for processes that have asked; a refusal means no AMX.
#[cfg(target_os = "linux")]
fn request_permission() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
    const XFEATURE_XTILEDATA: libc::c_long = 18;
    // SAFETY: the call reads no memory, and only allows this process more.
    unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0 }
}

#[cfg(not(target_os = "linux"))]
fn request_permission() -> bool {
    false
}

// SAFETY, for all blocks below: the unit is there, says the caller, and configured while a value exists; pointers are the caller's promise.
impl MatrixUnit for Amx {
    #[inline(always)]
    unsafe fn configure() {
        unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const SHAPES, options(nostack, readonly)) }
    }

    #[inline(always)]
    unsafe fn release() {
        unsafe { asm!("tilerelease", options(nostack, nomem, preserves_flags)) }
    }

    #[inline(always)]
    unsafe fn registers() -> Self {
        Self
    }

    #[inline(always)]
    unsafe fn zero<const REGISTER: usize>(&mut self) {
        unsafe { asm!("tilezero tmm{}", const REGISTER, options(nostack, nomem, preserves_flags)) }
    }

    #[inline(always)]
    unsafe fn load<const REGISTER: usize>(&mut self, from: *const u8) {
        unsafe {
            asm!("tileloadd tmm{}, [{} + {}]", const REGISTER, in(reg) from, in(reg) STRIDE,
                options(nostack, readonly, preserves_flags));
        }
    }

    #[inline(always)]
    unsafe fn store<const REGISTER: usize>(&mut self, to: *mut u8) {
        unsafe {
            asm!("tilestored [{} + {}], tmm{}", in(reg) to, in(reg) STRIDE, const REGISTER,
                options(nostack, preserves_flags));
        }
    }

    #[inline(always)]
    unsafe fn dot<const SUMS: usize, const ACTIVATIONS: usize, const WEIGHTS: usize>(&mut self) {
        unsafe {
            asm!("tdpbssd tmm{}, tmm{}, tmm{}", const SUMS, const ACTIVATIONS, const WEIGHTS,
                options(nostack, nomem, preserves_flags));
        }
    }

    #[inline(always)]
    unsafe fn dot_bf16<const SUMS: usize, const A: usize, const B: usize>(&mut self) {
        unsafe {
            asm!("tdpbf16ps tmm{}, tmm{}, tmm{}", const SUMS, const A, const B,
                options(nostack, nomem, preserves_flags));
        }
    }
}
