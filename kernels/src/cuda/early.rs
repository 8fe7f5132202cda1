//! What a kernel needs to start before the one before it has ended: instructions of compute capability 9.0, put where the
//! committed PTX, which is that of 8.0, has places for them (kernels/cuda/device.cuh). `ostro-e2e gpu compile --check`
//! takes this file in too and assembles what it makes.

/// Where a kernel waits for the results of the one before it.
pub(crate) const WAIT: &str = "// ostro: wait";
/// Where it lets the next one start.
pub(crate) const LAUNCH: &str = "// ostro: launch";

pub(crate) fn with_early_starts(ptx: &str) -> String {
    ptx.replace(WAIT, "griddepcontrol.wait;")
        .replace(LAUNCH, "griddepcontrol.launch_dependents;")
        .replace(".target sm_80", ".target sm_90")
}
