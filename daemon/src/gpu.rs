//! What becomes of models where a GPU was asked for, by `OSTRO_REQUIRE_GPU` or by a manifest, and none can be used. The
//! first fails them, the second is a wish.

use ostro_engine::DeviceChoice;
use ostro_engine::device::{NoGpu, gpus};

use crate::environment::is_on;
use crate::failure::Failure;
use crate::translate::ModelPlan;

/// Of models that are not told to run on the CPU; `required` is the variable's value.
pub(crate) fn device(required: Option<&str>) -> Result<DeviceChoice, Failure> {
    match is_on("OSTRO_REQUIRE_GPU", required)? {
        true => Ok(DeviceChoice::Gpu),
        false => Ok(DeviceChoice::Auto),
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
        NoGpu::Unfit(_) => "nodes with other GPUs are wanted",
        NoGpu::Absent(_) | NoGpu::Unusable(_) => "in a pod, see runtimeClassName, device plugin and driver",
    }
}

/// Of a manifest that asks for a GPU. One that is there and cannot be used, the engine tells of.
pub(crate) fn tell_without(models: &[ModelPlan]) {
    let may_choose = models.iter().any(|model| model.engine.device == DeviceChoice::Auto);
    if may_choose && let Err(reason @ (NoGpu::NotBuilt | NoGpu::Absent(_))) = gpus() {
        tracing::warn!("running on the CPU, though the object's resources ask for a GPU: {reason}");
    }
}
