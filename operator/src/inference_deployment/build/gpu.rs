//! What a pod that asks for a GPU has beyond others: a place for the kernels that the driver compiles, time to load, and
//! where it is NVIDIA's, a daemon that does not take the CPU in its place.
//! Extended resources are passed on as they are written; nothing is counted by them.

use ostro_config::manifest::is_nvidia_gpu;
use ostro_crds::InferenceDeploymentSpec;

use super::volumes;

/// Where NVIDIA's driver keeps machine code that it made of PTX; `~/.nv/ComputeCache` unless set.
pub(super) const KERNEL_CACHE: &str = "CUDA_CACHE_PATH";

/// Fails models in a pod that did not get the GPU it asks for; they would run on the CPU.
pub(super) const REQUIRE_VARIABLE: &str = "OSTRO_REQUIRE_GPU";

/// The driver's start, and its making machine code where none is cached for the device.
const START_SECONDS: i32 = 30;
/// Of the largest device there is (B300). The size of the weights is not known here, but they must fit: the daemon
/// uses one device, which all of its models share.
const MEMORY_GB_MAX: i32 = 288;
/// PCIe at its worst, a narrow slot of an old machine.
const COPIED_GB_A_SECOND: i32 = 2;

/// `nvidia.com/gpu`, MIG's `nvidia.com/mig-1g.10gb`, and other vendors' `…/gpu`.
pub(crate) fn is_gpu(resource: &str) -> bool {
    resource.starts_with("nvidia.com/") || resource.ends_with("/gpu")
}

pub(super) fn is_asked_for(spec: &InferenceDeploymentSpec) -> bool {
    asks_for(spec, is_gpu)
}

/// The daemon runs on no others.
pub(super) fn is_required(spec: &InferenceDeploymentSpec) -> bool {
    asks_for(spec, is_nvidia_gpu)
}

fn asks_for(spec: &InferenceDeploymentSpec, is_wanted: fn(&str) -> bool) -> bool {
    let resources = spec.resources.iter();
    let mut lists = resources.flat_map(|resources| [&resources.limits, &resources.requests]).flatten();
    lists.any(|list| list.iter().any(|(name, quantity)| is_wanted(name) && quantity.0 != "0"))
}

/// The folder of the driver's kernels; none without a GPU.
pub(super) fn kernel_cache(spec: &InferenceDeploymentSpec) -> Option<String> {
    is_asked_for(spec).then(|| format!("{}/cuda", volumes::writable_dir(spec)))
}

/// Seconds that loading to a GPU takes beyond reading the weights, once a pod; 0 without a GPU.
pub(super) fn load_seconds(spec: &InferenceDeploymentSpec) -> i32 {
    if is_asked_for(spec) { START_SECONDS + MEMORY_GB_MAX / COPIED_GB_A_SECOND } else { 0 }
}
