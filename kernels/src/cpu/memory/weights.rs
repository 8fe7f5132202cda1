//! Memory of packed weights: many matrices share a mapping, so that small ones lie in huge pages too.

use std::fmt;
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::{AllocError, HugeBuffer};

/// Matrices of more than this get a mapping of their own.
const CHUNK_BYTES: usize = 64 << 20;
const ALIGN: usize = 4096;

/// The chunk that the next small matrix goes to, and how much of it is taken. Weak: the matrices own it.
static CURRENT: Mutex<(Weak<Chunk>, usize)> = Mutex::new((Weak::new(), 0));

struct Chunk {
    start: NonNull<u8>,
    _memory: HugeBuffer<u8>,
}

// SAFETY: the pointer is into memory that the chunk owns; who uses it owns a part of its own.
unsafe impl Send for Chunk {}
// SAFETY: as above.
unsafe impl Sync for Chunk {}

impl Chunk {
    fn new(bytes: usize) -> Result<Self, AllocError> {
        let mut memory = HugeBuffer::zeroed(bytes)?;
        let start = NonNull::new(memory.as_mut_ptr()).ok_or(AllocError { bytes })?;
        Ok(Self { start, _memory: memory })
    }
}

/// Zeroed bytes, aligned to a page, freed with the last of its chunk's.
pub(crate) struct WeightBytes {
    start: NonNull<u8>,
    len: usize,
    _chunk: Arc<Chunk>,
}

// SAFETY: the bytes belong to this value alone, as if it were a Vec.
unsafe impl Send for WeightBytes {}
// SAFETY: as above; a shared reference only reads.
unsafe impl Sync for WeightBytes {}

impl WeightBytes {
    pub(crate) fn zeroed(len: usize) -> Result<Self, AllocError> {
        if len > CHUNK_BYTES / 2 {
            let chunk = Arc::new(Chunk::new(len)?);
            return Ok(Self { start: chunk.start, len, _chunk: chunk });
        }
        let mut current = CURRENT.lock().unwrap_or_else(PoisonError::into_inner);
        let chunk = match current.0.upgrade() {
            Some(chunk) if CHUNK_BYTES - current.1 >= len => chunk,
            _ => {
                let chunk = Arc::new(Chunk::new(CHUNK_BYTES)?);
                *current = (Arc::downgrade(&chunk), 0);
                chunk
            }
        };
        // SAFETY: `len` bytes from there lie in the chunk, and nobody else got or gets them.
        let start = unsafe { chunk.start.add(current.1) };
        current.1 = CHUNK_BYTES.min((current.1 + len).next_multiple_of(ALIGN));
        Ok(Self { start, len, _chunk: chunk })
    }

    pub(crate) fn as_mut_ptr(&mut self) -> *mut u8 {
        self.start.as_ptr()
    }
}

impl Deref for WeightBytes {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        // SAFETY: the bytes are initialised (zeros at least), ours alone, and live as long as the chunk.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl fmt::Debug for WeightBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WeightBytes({})", self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_zeroed_and_do_not_overlap() {
        let sizes = [1, 5000, 0, 4096, CHUNK_BYTES / 2, CHUNK_BYTES / 2, 77, CHUNK_BYTES];
        let mut all: Vec<_> = sizes.iter().map(|size| WeightBytes::zeroed(*size).unwrap()).collect();
        for (i, bytes) in all.iter_mut().enumerate() {
            assert!(bytes.iter().all(|b| *b == 0));
            assert_eq!(bytes.as_ptr() as usize % ALIGN, 0);
            let len = bytes.len();
            // SAFETY: the bytes are this value's own.
            unsafe { std::slice::from_raw_parts_mut(bytes.as_mut_ptr(), len) }.fill(i as u8 + 1);
        }
        for (i, (bytes, size)) in all.iter().zip(sizes).enumerate() {
            assert_eq!(bytes.len(), size);
            assert!(bytes.iter().all(|b| *b == i as u8 + 1));
        }
    }
}
