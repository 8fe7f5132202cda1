//! One GPU in use: its context, its stream, the kernels' code, and launches.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::Arc;

use cudarc::driver::sys::{
    self, CUdevice_attribute, CUfunction_attribute_enum, CUlaunchAttribute, CUlaunchAttributeID,
    CUlaunchAttributeValue, CUlaunchConfig,
};
use cudarc::driver::{CudaContext, CudaFunction, CudaModule, CudaStream};
use cudarc::nvrtc::Ptx;

use super::args::KernelArgs;
use super::code;
use super::discover::Gpu;
use super::early::with_early_starts;
pub use super::error::CudaError;
pub(crate) use super::error::During;

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
        let context = open_context(gpu.ordinal)?;
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
        memory(&self.context)
    }

    /// Loads a kernel's code if need be; its first load on a device compiles it.
    pub(crate) fn prepare(&mut self, module: &'static str, kernel: &'static str) -> Result<(), CudaError> {
        if self.functions.contains_key(kernel) {
            return Ok(());
        }
        if !self.modules.contains_key(module) {
            let code = Ptx::from_src(self.source(module));
            let loaded = self.context.load_module(code).during("cannot load kernels onto the GPU")?;
            self.modules.insert(module, loaded);
        }
        let function = self.modules[module].load_function(kernel).during("the kernels lack a function")?;
        self.functions.insert(kernel, function);
        Ok(())
    }

    /// From compute capability 9.0 on kernels can start before the one before has ended.
    fn source(&self, module: &'static str) -> Cow<'static, str> {
        let source = code::source(module);
        match self.starts_early() {
            false => source.into(),
            true => with_early_starts(source).into(),
        }
    }

    fn starts_early(&self) -> bool {
        // Graphs know such starts from CUDA 12.3 on.
        self.gpu.compute_capability >= (9, 0) && self.gpu.driver_version >= 12_030
    }

    /// Allows a kernel more shared memory than the usual 48 KiB.
    pub(crate) fn allow_shared(&self, kernel: &'static str, bytes: usize) -> Result<(), CudaError> {
        let attribute = CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        self.functions[kernel]
            .set_attribute(attribute, bytes as i32)
            .during("a kernel needs more shared memory")
    }

    /// Queues a kernel that was prepared. Its errors may show only later.
    pub(crate) fn launch<A: KernelArgs>(
        &self,
        kernel: &'static str,
        grid: Grid,
        args: &A,
    ) -> Result<(), CudaError> {
        self.start(kernel, grid, args, &mut [])
    }

    /// As `launch`, of a kernel that waits itself for the one before it (`dependency_wait`).
    pub(crate) fn launch_early<A: KernelArgs>(
        &self,
        kernel: &'static str,
        grid: Grid,
        args: &A,
    ) -> Result<(), CudaError> {
        let early = CUlaunchAttribute {
            id: CUlaunchAttributeID::CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION,
            pad: [0; 4],
            value: CUlaunchAttributeValue { programmaticStreamSerializationAllowed: 1 },
        };
        let attributes = &mut [early][..usize::from(self.starts_early())];
        self.start(kernel, grid, args, attributes)
    }

    fn start<A: KernelArgs>(
        &self,
        kernel: &'static str,
        grid: Grid,
        args: &A,
        attributes: &mut [CUlaunchAttribute],
    ) -> Result<(), CudaError> {
        let Grid { blocks: (x, y, z), threads, shared_bytes } = grid;
        if x * y * z == 0 {
            return Ok(());
        }
        let function =
            self.functions.get(kernel).unwrap_or_else(|| panic!("kernel {kernel} is not prepared"));
        let config = CUlaunchConfig {
            gridDimX: x as u32,
            gridDimY: y as u32,
            gridDimZ: z as u32,
            blockDimX: threads as u32,
            blockDimY: 1,
            blockDimZ: 1,
            sharedMemBytes: shared_bytes as u32,
            hStream: self.stream.cu_stream(),
            attrs: attributes.as_mut_ptr(),
            numAttrs: attributes.len() as u32,
        };
        let mut args = *args;
        let mut parameters = [(&raw mut args).cast::<c_void>()];
        self.context.bind_to_thread().during("cannot start a kernel")?;
        // SAFETY: the kernel takes one parameter, which `args` is (KernelArgs); the driver copies it, and the attributes,
        // before it returns. Addresses in it are of buffers that the caller keeps until the stream is synchronised.
        let launched = unsafe {
            sys::cuLaunchKernelEx(
                &raw const config,
                function.cu_function(),
                parameters.as_mut_ptr(),
                std::ptr::null_mut(),
            )
        };
        launched.result().during("cannot start a kernel")
    }

    pub(crate) fn synchronise(&self) -> Result<(), CudaError> {
        self.stream.synchronize().during("the GPU failed")
    }
}

/// (free, total) bytes of a GPU, which is opened and left for that: one that is found may be busy, full or broken.
pub fn probe(ordinal: usize) -> Result<(u64, u64), CudaError> {
    let context = open_context(ordinal)?;
    memory(&context)
}

fn open_context(ordinal: usize) -> Result<Arc<CudaContext>, CudaError> {
    CudaContext::new(ordinal).during("cannot use the GPU")
}

fn memory(context: &CudaContext) -> Result<(u64, u64), CudaError> {
    let (free, total) = context.mem_get_info().during("cannot ask for the GPU's memory")?;
    Ok((free as u64, total as u64))
}

#[cfg(test)]
mod tests {
    use super::super::code::{MODULES, source};
    use super::super::early::{LAUNCH, WAIT};
    use super::*;

    /// Name and code of each kernel.
    fn kernels(ptx: &str) -> impl Iterator<Item = (&str, &str)> {
        ptx.split(".entry ").skip(1).filter_map(|entry| entry.split_once('('))
    }

    /// Whether `launch_early` takes it.
    fn is_early(module: &str, kernel: &str) -> bool {
        !matches!(module, "pack" | "prompt" | "wide") && kernel != "embed_rows"
    }

    /// Whether a line writes what other kernels may read.
    fn writes(line: &str) -> bool {
        line.split_whitespace().any(|word| {
            let is_own = ["st.shared", "st.local", "st.param"].iter().any(|own| word.starts_with(own));
            !is_own && ["st.", "red.", "atom."].iter().any(|writing| word.starts_with(writing))
        })
    }

    #[test]
    fn kernels_that_start_early_wait_before_they_write() {
        let mut early = 0;
        for module in MODULES {
            let ptx = source(module);
            for (kernel, code) in kernels(ptx) {
                let expected = usize::from(is_early(module, kernel));
                early += expected;
                let found = [WAIT, LAUNCH].map(|place| code.matches(place).count());
                assert_eq!(found, [expected; 2], "{module}: {kernel}");
                if let Some((before, _)) = code.split_once(WAIT) {
                    assert_eq!(before.lines().find(|line| writes(line)), None, "{kernel}");
                }
            }
            let loaded = with_early_starts(ptx);
            assert!(loaded.contains(".target sm_90") && !loaded.contains("// ostro"), "{module}");
        }
        assert!(early > 70, "{early} kernels start early");
    }
}
