//! Zeroed slices of plain numbers in memory advised for huge pages.
//!
//! Where transparent huge pages are on request only (the usual default), weights in a plain `Vec` lie in
//! pages of 4 KiB, and streaming them costs 20 to 60 % of the bandwidth (measured).

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

use thiserror::Error;

mod scratch;
mod weights;

pub(crate) use scratch::Scratch;
pub(crate) use weights::WeightBytes;

const HUGE: usize = 2 << 20;
/// From so many bytes on, memory is worth huge pages.
const LARGE: usize = HUGE / 2;

#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("cannot allocate {bytes} bytes of memory")]
pub struct AllocError {
    pub bytes: usize,
}

/// Gives the heap's free pages back to the system: glibc keeps what a load freed between its small allocations.
pub fn give_free_heap_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: it takes the heap's own locks, and moves nothing that is in use.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Numbers for which every bit pattern is valid.
///
/// # Safety
/// Any bytes are a value of the type, all zeros among them, and it needs no drop.
pub unsafe trait Number: Copy + Send + Sync + 'static {}

macro_rules! numbers {
    // SAFETY: integers and floats have no invalid bit patterns.
    ($($t:ty)*) => { $(unsafe impl Number for $t {})* };
}
numbers!(u8 i8 u16 i16 u32 i32 u64 i64 usize f32 f64);

/// A zeroed slice, aligned to 64 bytes at least, in huge pages from 1 MiB on.
pub struct HugeBuffer<T: Number> {
    map: NonNull<libc::c_void>,
    map_bytes: usize,
    data: NonNull<T>,
    len: usize,
}

// SAFETY: the buffer owns its memory as a Vec does.
unsafe impl<T: Number> Send for HugeBuffer<T> {}
// SAFETY: as above; a shared reference only reads.
unsafe impl<T: Number> Sync for HugeBuffer<T> {}

impl<T: Number> HugeBuffer<T> {
    pub fn zeroed(len: usize) -> Result<Self, AllocError> {
        let buffer = Self::map(len)?;
        buffer.advise(libc::MADV_HUGEPAGE);
        Ok(buffer)
    }

    /// In small pages, also where huge ones are the default: for what is mostly used in part. Only what is written takes
    /// memory.
    pub(crate) fn sparse(len: usize) -> Result<Self, AllocError> {
        let buffer = Self::map(len)?;
        buffer.advise(libc::MADV_NOHUGEPAGE);
        Ok(buffer)
    }

    /// What is written from now on comes in huge pages, if the buffer is large.
    fn take_huge_pages(&self) {
        self.advise(libc::MADV_HUGEPAGE);
    }

    fn map(len: usize) -> Result<Self, AllocError> {
        let bytes = len.checked_mul(size_of::<T>()).ok_or(AllocError { bytes: usize::MAX })?;
        let huge = bytes >= LARGE;
        // Room to align by hand.
        let map_bytes = if huge { bytes.checked_add(2 * HUGE) } else { Some(bytes.max(1)) };
        let map_bytes = map_bytes.ok_or(AllocError { bytes })?;
        // SAFETY: a new private mapping touches nobody else's memory.
        let map = unsafe {
            let access = libc::PROT_READ | libc::PROT_WRITE;
            let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            libc::mmap(std::ptr::null_mut(), map_bytes, access, kind, -1, 0)
        };
        let map = NonNull::new(map).filter(|map| map.as_ptr() != libc::MAP_FAILED);
        let map = map.ok_or(AllocError { bytes })?;
        let skip = if huge { map.as_ptr().align_offset(HUGE) } else { 0 };
        // SAFETY: where something is skipped, the mapping has two huge pages more than `bytes`.
        let data = unsafe { map.byte_add(skip) };
        Ok(Self { map, map_bytes, data: data.cast(), len })
    }

    /// Tells the system about the pages of a large buffer.
    fn advise(&self, advice: libc::c_int) {
        let bytes = size_of_val(&**self);
        if bytes >= LARGE {
            // SAFETY: the mapping has two huge pages more than `bytes`, so start and end stay inside it. The
            // advice changes no content, and its failure only costs speed.
            unsafe { libc::madvise(self.data.as_ptr().cast(), bytes.next_multiple_of(HUGE), advice) };
        }
    }
}

impl<T: Number> Drop for HugeBuffer<T> {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and no reference outlives the owner.
        unsafe { libc::munmap(self.map.as_ptr(), self.map_bytes) };
    }
}

impl<T: Number> Deref for HugeBuffer<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        // SAFETY: `len` elements lie in the mapping, initialised by zeros, which are a value of `T`.
        unsafe { std::slice::from_raw_parts(self.data.as_ptr(), self.len) }
    }
}

impl<T: Number> DerefMut for HugeBuffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as above, and the reference is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.data.as_ptr(), self.len) }
    }
}

impl<T: Number> fmt::Debug for HugeBuffer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HugeBuffer({} x {} bytes)", self.len, size_of::<T>())
    }
}

/// A pointer that the threads of a region share, each writing elements that no other touches.
#[derive(Clone, Copy)]
pub(crate) struct Shared<T>(pub(crate) *mut T);

// SAFETY: using the pointer is unsafe in itself; who does so answers for disjoint writes.
unsafe impl<T> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Shared<T> {}

impl<T> Shared<T> {
    /// A method, so that closures capture the wrapper and not the bare pointer.
    #[inline(always)]
    pub(crate) fn get(self) -> *mut T {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_zeroed_aligned_and_writable_to_the_end() {
        for len in [0, 1, 1000, HUGE / 8, HUGE, 3 * HUGE + 5] {
            let mut buffer = HugeBuffer::<f32>::zeroed(len).unwrap();
            assert_eq!(buffer.len(), len);
            assert!(buffer.iter().all(|x| *x == 0.0));
            assert_eq!(buffer.as_ptr() as usize % 64, 0);
            buffer.fill(1.0);
        }
    }

    #[test]
    fn sparse_buffers_are_zeroed_and_writable_to_the_end() {
        for len in [0, 1000, 3 * HUGE + 5] {
            let mut buffer = HugeBuffer::<f32>::sparse(len).unwrap();
            buffer.take_huge_pages();
            assert!(buffer.len() == len && buffer.iter().all(|x| *x == 0.0));
            buffer.fill(1.0);
        }
    }

    #[test]
    fn absurd_sizes_are_errors() {
        assert!(HugeBuffer::<f32>::zeroed(usize::MAX / 2).is_err());
        assert!(HugeBuffer::<u8>::zeroed(usize::MAX / 4).is_err());
    }
}
