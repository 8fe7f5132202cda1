//! Memory of the device, and host memory that the device copies from and to by itself.

use std::sync::Arc;

use cudarc::driver::sys::CUdeviceptr;
use cudarc::driver::{CudaContext, CudaStream, DriverError, result};

/// Device memory, freed when dropped. Zeroed at first, so that padding is.
///
/// It is filled and written on the stream of the kernels that use it: on the null stream fills, and copies of pageable
/// memory, may go on after their calls have returned, and a stream that does not block does not wait for them. What
/// another model records meanwhile is of its own stream and thread-local, so that none of these calls spoils it.
#[derive(Debug)]
pub struct Buffer {
    stream: Arc<CudaStream>,
    address: CUdeviceptr,
    bytes: usize,
}

impl Buffer {
    pub(crate) fn zeroed(stream: &Arc<CudaStream>, bytes: usize) -> Result<Self, DriverError> {
        stream.context().bind_to_thread()?;
        // An allocation of nothing is an error; one of some bytes keeps its callers plain.
        let bytes = bytes.max(16);
        // SAFETY: the context is current; the memory is owned here and freed once.
        let address = unsafe { result::malloc_sync(bytes) }?;
        let buffer = Buffer { stream: Arc::clone(stream), address, bytes };
        // SAFETY: the memory is `bytes` long; all that uses it is queued behind this.
        unsafe { result::memset_d8_async(address, 0, bytes, stream.cu_stream()) }?;
        Ok(buffer)
    }

    pub(crate) fn of(stream: &Arc<CudaStream>, bytes: &[u8]) -> Result<Self, DriverError> {
        let mut buffer = Buffer::zeroed(stream, bytes.len())?;
        buffer.write(bytes)?;
        Ok(buffer)
    }

    /// Waits until the bytes are there.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), DriverError> {
        assert!(bytes.len() <= self.bytes, "{} bytes into a buffer of {}", bytes.len(), self.bytes);
        self.stream.context().bind_to_thread()?;
        // SAFETY: the memory is at least as long as `bytes`, which are read by the time that the stream is synchronised.
        unsafe { result::memcpy_htod_async(self.address, bytes, self.stream.cu_stream()) }?;
        self.stream.synchronize()
    }

    pub(crate) fn address(&self) -> CUdeviceptr {
        self.address
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: allocated by `zeroed`, freed here only. An error means that the context is gone, and its memory with it.
        let _ =
            self.stream.context().bind_to_thread().and_then(|()| unsafe { result::free_sync(self.address) });
    }
}

/// Pinned host memory of plain numbers, zeroed at first.
#[derive(Debug)]
pub(crate) struct Pinned<T> {
    context: Arc<CudaContext>,
    start: *mut T,
    len: usize,
}

/// A number that may hold any bits.
pub(crate) trait Plain: Copy + Default {}
impl Plain for u32 {}
impl Plain for f32 {}

impl<T: Plain> Pinned<T> {
    pub(crate) fn zeroed(context: &Arc<CudaContext>, len: usize) -> Result<Self, DriverError> {
        context.bind_to_thread()?;
        let len = len.max(1);
        // SAFETY: owned here and freed once.
        let start = unsafe { result::malloc_host(len * size_of::<T>(), 0) }?.cast::<T>();
        // SAFETY: `len` numbers were allocated, aligned as pages are; all bits zero are a number.
        unsafe { start.write_bytes(0, len) };
        Ok(Pinned { context: Arc::clone(context), start, len })
    }

    pub(crate) fn as_slice(&self) -> &[T] {
        // SAFETY: `len` initialised numbers, borrowed as `self` is. The device writes only between a copy's start and the
        // stream's synchronisation, while the owner of the stream does not read.
        unsafe { std::slice::from_raw_parts(self.start, self.len) }
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [T] {
        // SAFETY: as `as_slice`, and borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.len) }
    }
}

impl<T> Drop for Pinned<T> {
    fn drop(&mut self) {
        // SAFETY: allocated by `zeroed`, freed here only; errors as in `Buffer`.
        let _ = self.context.bind_to_thread().and_then(|()| unsafe { result::free_host(self.start.cast()) });
    }
}
