//! One GPU in use: its context, its stream, the kernels' code, and launches.

use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::Arc;

use cudarc::driver::sys::{CUdevice_attribute, CUfunction_attribute_enum};
use cudarc::driver::{CudaContext, CudaFunction, CudaModule, CudaStream, DriverError, result};
use cudarc::nvrtc::Ptx;

use super::args::KernelArgs;
use super::code;
use super::discover::{Gpu, message};

/// What the device could not do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CudaError {
    #[error("{what}: {reason}")]
    Driver { what: &'static str, reason: String },
    #[error("the GPU has no memory for {what} of {bytes} bytes, {free_bytes} of {total_bytes} bytes are free")]
    OutOfMemory { what: &'static str, bytes: u64, free_bytes: u64, total_bytes: u64 },
}

/// Names the operation of a driver's error.
pub(crate) trait During<T> {
    fn during(self, what: &'static str) -> Result<T, CudaError>;
}

impl<T> During<T> for Result<T, DriverError> {
    fn during(self, what: &'static str) -> Result<T, CudaError> {
        self.map_err(|error| CudaError::Driver { what, reason: message(error) })
    }
}

/// Threads and blocks of a launch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grid {
    pub(crate) blocks: (usize, usize, usize),
    pub(crate) threads: usize,
    pub(crate) shared_bytes: usize,
}

pub(crate) struct Device {
    pub(crate) gpu: Gpu,
    pub(crate) context: Arc<CudaContext>,
    pub(crate) stream: Arc<CudaStream>,
    modules: HashMap<&'static str, Arc<CudaModule>>,
    functions: HashMap<&'static str, CudaFunction>,
    pub(crate) processors: usize,
}

impl Device {
    pub(crate) fn open(gpu: Gpu) -> Result<Self, CudaError> {
        let context = CudaContext::new(gpu.ordinal).during("cannot use the GPU")?;
        // SAFETY: all work is on one stream, in order; nothing relies on events between streams.
        unsafe { context.disable_event_tracking() };
        let stream = context.new_stream().during("cannot use the GPU")?;
        let attribute = CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT;
        let processors = context.attribute(attribute).during("cannot use the GPU")?.max(1) as usize;
        Ok(Device { gpu, context, stream, modules: HashMap::new(), functions: HashMap::new(), processors })
    }

    pub(crate) fn is_hopper(&self) -> bool {
        self.gpu.compute_capability == (9, 0)
    }

    /// (free, total)
    pub(crate) fn memory(&self) -> Result<(u64, u64), CudaError> {
        let (free, total) = self.context.mem_get_info().during("cannot ask for the GPU's memory")?;
        Ok((free as u64, total as u64))
    }

    /// Loads a kernel's code if need be; its first load on a device compiles it.
    pub(crate) fn prepare(&mut self, module: &'static str, kernel: &'static str) -> Result<(), CudaError> {
        if self.functions.contains_key(kernel) {
            return Ok(());
        }
        if !self.modules.contains_key(module) {
            let code = Ptx::from_src(code::source(module));
            let loaded = self.context.load_module(code).during("cannot load kernels onto the GPU")?;
            self.modules.insert(module, loaded);
        }
        let function = self.modules[module].load_function(kernel).during("the kernels lack a function")?;
        self.functions.insert(kernel, function);
        Ok(())
    }

    /// Allows a kernel more shared memory than the usual 48 KiB.
    pub(crate) fn allow_shared(&self, kernel: &'static str, bytes: usize) -> Result<(), CudaError> {
        let attribute = CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        self.functions[kernel].set_attribute(attribute, bytes as i32).during("a kernel needs more shared memory")
    }

    /// Queues a kernel that was prepared. Its errors may show only later.
    pub(crate) fn launch<A: KernelArgs>(&self, kernel: &'static str, grid: Grid, args: &A) -> Result<(), CudaError> {
        let Grid { blocks: (x, y, z), threads, shared_bytes } = grid;
        if x * y * z == 0 {
            return Ok(());
        }
        let function = self.functions.get(kernel).unwrap_or_else(|| panic!("kernel {kernel} is not prepared"));
        let mut args = *args;
        let mut parameters = [(&raw mut args).cast::<c_void>()];
        let blocks = (x as u32, y as u32, z as u32);
        // SAFETY: the kernel takes one parameter, which `args` is (KernelArgs); the driver copies it before it returns.
        // Addresses in it are of buffers that the caller keeps until the stream is synchronised.
        let launched = unsafe {
            result::launch_kernel(
                function.cu_function(),
                blocks,
                (threads as u32, 1, 1),
                shared_bytes as u32,
                self.stream.cu_stream(),
                &mut parameters,
            )
        };
        launched.during("cannot start a kernel")
    }

    pub(crate) fn synchronise(&self) -> Result<(), CudaError> {
        self.stream.synchronize().during("the GPU failed")
    }
}
