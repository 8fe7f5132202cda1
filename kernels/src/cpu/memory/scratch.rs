//! Memory that an operation keeps from call to call.

use super::{AllocError, HugeBuffer, LARGE, Number};

/// Numbers of which a call uses the first ones, as many as it needs. They come in huge pages once they are many: in a buffer
/// for the longest sequence, a short one would take a huge page, too.
#[derive(Debug)]
pub(crate) struct Scratch<T: Number> {
    buffer: HugeBuffer<T>,
    is_huge: bool,
}

impl<T: Number> Default for Scratch<T> {
    fn default() -> Self {
        let buffer = HugeBuffer::zeroed(0).expect("an empty buffer needs no memory");
        Self { buffer, is_huge: false }
    }
}

impl<T: Number> Scratch<T> {
    /// Room for `len` numbers; allocates only when there was less, and touches nothing.
    pub(crate) fn reserve(&mut self, len: usize) -> Result<(), AllocError> {
        if len > self.buffer.len() {
            *self = Self { buffer: HugeBuffer::sparse(len)?, is_huge: false };
        }
        Ok(())
    }

    /// Before a call that uses the first `len` numbers. They hold anything.
    pub(crate) fn provide(&mut self, len: usize) -> Result<(), AllocError> {
        self.reserve(len)?;
        if !self.is_huge && len * size_of::<T>() >= LARGE {
            self.buffer.take_huge_pages();
            self.is_huge = true;
        }
        Ok(())
    }

    pub(crate) fn len(&self) -> usize {
        self.buffer.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.len() * size_of::<T>()
    }

    /// The first `len` numbers.
    pub(crate) fn first(&self, len: usize) -> &[T] {
        &self.buffer[..len]
    }

    pub(crate) fn as_mut_ptr(&mut self) -> *mut T {
        self.buffer.as_mut_ptr()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_reserved_stays_in_its_place() {
        let mut scratch = Scratch::<f32>::default();
        scratch.reserve(LARGE).unwrap();
        let start = scratch.as_mut_ptr();
        for len in [1, LARGE / 4, LARGE, 2] {
            scratch.provide(len).unwrap();
            scratch.reserve(len).unwrap();
            assert_eq!((scratch.as_mut_ptr(), scratch.bytes()), (start, LARGE * 4));
        }
        scratch.provide(LARGE + 1).unwrap();
        assert_eq!(scratch.len(), LARGE + 1);
    }
}
