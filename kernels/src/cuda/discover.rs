//! Which GPUs there are, and why there is none: asked of the driver, loaded at run time.

use std::fmt;

use cudarc::driver::{CudaContext, DriverError, result, sys};

/// CUDA 12.0: what the kernels' PTX asks for.
const DRIVER_MIN: i32 = 12_000;
/// Tensor cores with f16 products of 16 x 8 x 16, and asynchronous copies: Ampere.
const CAPABILITY_MIN: (i32, i32) = (8, 0);

/// A GPU that the kernels can run on.
#[derive(Clone, Debug, PartialEq)]
pub struct Gpu {
    /// The driver's number of it in this process.
    pub ordinal: usize,
    pub name: String,
    /// As `nvidia-smi -L` and NVML have it: `GPU-...`; of an instance (MIG) that of its GPU, which NVML's numbers are of.
    pub uuid: String,
    pub compute_capability: (i32, i32),
    pub memory_bytes: u64,
    /// By its data sheet.
    pub memory_bytes_per_second: f64,
    /// The newest CUDA that the driver knows, 13000 for 13.0.
    pub driver_version: i32,
}

impl Gpu {
    /// CUDA of the driver, such as `13.0`.
    pub fn driver(&self) -> String {
        version(self.driver_version)
    }
}

/// The GPUs of this process, in the driver's order.
#[derive(Clone, Debug, PartialEq)]
pub struct Gpus {
    /// At least one.
    pub usable: Vec<Gpu>,
    pub unusable: Vec<UnusableGpu>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnusableGpu {
    /// As `Gpu::ordinal`.
    pub ordinal: usize,
    pub reason: NoGpu,
}

/// Why no GPU, or not this one, can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoGpu {
    #[error("no NVIDIA driver (libcuda.so.1) is installed here, or the container was not given one")]
    NoDriver,
    #[error("the NVIDIA driver knows CUDA {}, at least {} (driver 525) is needed", version(*found), version(DRIVER_MIN))]
    OldDriver { found: i32 },
    #[error("the NVIDIA driver finds no GPU")]
    NoDevice,
    #[error(
        "{name} has compute capability {}.{}, at least {}.{} is needed",
        capability.0, capability.1, CAPABILITY_MIN.0, CAPABILITY_MIN.1
    )]
    OldDevice { name: String, capability: (i32, i32) },
    #[error("the NVIDIA driver failed: {0}")]
    Driver(String),
}

impl From<DriverError> for NoGpu {
    fn from(error: DriverError) -> Self {
        match error.0 {
            sys::CUresult::CUDA_ERROR_NO_DEVICE => NoGpu::NoDevice,
            _ => NoGpu::Driver(message(error)),
        }
    }
}

/// Asks the driver.
///
/// # Errors
/// Where no GPU can be used: of several the first one's reason, since models would run on that.
pub fn gpus() -> Result<Gpus, NoGpu> {
    // SAFETY: opens and closes the driver's library, which has no other effect. cudarc panics where it is missing.
    if !unsafe { sys::is_culib_present() } {
        return Err(NoGpu::NoDriver);
    }
    result::init()?;
    let mut driver_version = 0;
    // SAFETY: the driver writes one number.
    unsafe { sys::cuDriverGetVersion(&raw mut driver_version) }.result()?;
    if driver_version < DRIVER_MIN {
        return Err(NoGpu::OldDriver { found: driver_version });
    }
    let count = CudaContext::device_count()?.max(0) as usize;
    let (mut usable, mut unusable) = (Vec::new(), Vec::new());
    for ordinal in 0..count {
        match describe(ordinal, driver_version) {
            Ok(gpu) => usable.push(gpu),
            Err(reason) => unusable.push(UnusableGpu { ordinal, reason }),
        }
    }
    match usable.is_empty() {
        true => Err(unusable.into_iter().next().map_or(NoGpu::NoDevice, |first| first.reason)),
        false => Ok(Gpus { usable, unusable }),
    }
}

/// What the kernels need of a GPU is checked first.
fn describe(ordinal: usize, driver_version: i32) -> Result<Gpu, NoGpu> {
    use sys::CUdevice_attribute::{
        CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR as MAJOR,
        CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR as MINOR,
        CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH as BUS_BITS,
        CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE as CLOCK_KHZ,
    };
    let device = result::device::get(ordinal as i32)?;
    let name = result::device::get_name(device)?;
    // SAFETY: `device` is one of the driver's.
    let attribute = |attribute| unsafe { result::device::get_attribute(device, attribute) };
    let capability = (attribute(MAJOR)?, attribute(MINOR)?);
    if capability < CAPABILITY_MIN {
        return Err(NoGpu::OldDevice { name, capability });
    }
    Ok(Gpu {
        ordinal,
        name,
        uuid: Uuid::of_gpu(device)?.to_string(),
        compute_capability: capability,
        // SAFETY: as above.
        memory_bytes: unsafe { result::device::total_mem(device) }? as u64,
        // Two bits a clock and line.
        memory_bytes_per_second: f64::from(attribute(CLOCK_KHZ)?) * 1e3 * f64::from(attribute(BUS_BITS)?)
            / 4.0,
        driver_version,
    })
}

/// What the driver says of an error, in one line.
pub(crate) fn message(error: DriverError) -> String {
    match (error.error_name(), error.error_string()) {
        (Ok(name), Ok(text)) => format!("{} ({})", text.to_string_lossy(), name.to_string_lossy()),
        _ => format!("error {}", error.0 as u32),
    }
}

/// `13000` is 13.0.
fn version(number: i32) -> String {
    format!("{}.{}", number / 1000, number % 1000 / 10)
}

struct Uuid(sys::CUuuid);

impl Uuid {
    /// By the first version of the call: the second one names an instance (MIG) where the device is one.
    fn of_gpu(device: sys::CUdevice) -> Result<Uuid, DriverError> {
        let mut uuid = sys::CUuuid { bytes: [0; 16] };
        // SAFETY: `device` is one of the driver's, which writes 16 bytes.
        unsafe { sys::cuDeviceGetUuid(&raw mut uuid, device) }.result()?;
        Ok(Uuid(uuid))
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GPU-")?;
        for (index, byte) in self.0.bytes.iter().enumerate() {
            if [4, 6, 8, 10].contains(&index) {
                f.write_str("-")?;
            }
            write!(f, "{:02x}", *byte as u8)?;
        }
        Ok(())
    }
}
