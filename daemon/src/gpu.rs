//! What becomes of models where `OSTRO_REQUIRE_GPU` asks for a GPU and none can be used.

use ostro_engine::DeviceChoice;
use ostro_engine::device::{NoGpu, gpus};

use crate::environment::switch;
use crate::failure::Failure;

/// Of models that are not told to run on the CPU; `required` is the variable's value.
pub(crate) fn device(required: Option<&str>) -> Result<DeviceChoice, Failure> {
    let Some(value) = required else { return Ok(DeviceChoice::Auto) };
    match switch(value) {
        Some(true) => Ok(DeviceChoice::Gpu),
        Some(false) => Ok(DeviceChoice::Auto),
        None => Err(Failure::Usage(format!(
            "OSTRO_REQUIRE_GPU = {value:?}: must be 1, on, yes or true, or 0, off, no or false"
        ))),
    }
}

/// Before a model's files are looked for: a download would be in vain.
pub(crate) fn check(device: DeviceChoice) -> Result<(), NoGpu> {
    match device {
        DeviceChoice::Gpu => gpus().map(drop),
        DeviceChoice::Auto | DeviceChoice::Cpu => Ok(()),
    }
}

/// What to do where a GPU is required, in a few words: a status cuts long ones.
pub(crate) fn remedy(reason: &NoGpu) -> &'static str {
    match reason {
        NoGpu::NotBuilt => "take one with the feature cuda",
        NoGpu::Absent(_) | NoGpu::Unusable(_) => "in a pod, see runtimeClassName, device plugin and driver",
    }
}
