//! GPUs that the driver finds and that cannot be used, beside others.

use super::{Machine, PLACED};

#[test]
fn gpu_that_cannot_be_read_hides_no_other() {
    let Some(machine) = Machine::new(&[("OSTRO_FAKE_CUDA", "faulty-first")]) else { return };
    let doctor = machine.doctor();
    let [good, bad] = &doctor[..] else { panic!("{doctor:?}") };
    assert!(good.starts_with("ok       gpu        1: Ostro emulated GPU 1, "), "{good}");
    assert!(!good.contains("not used"), "{good}");
    let reason = "cannot be used: the NVIDIA driver failed: unknown error (CUDA_ERROR_UNKNOWN)";
    assert!(bad.starts_with(&format!("warning  gpu        0: {reason}")), "{bad}");
    let errors = machine.answer(&[]).errors;
    assert!(errors.contains(&format!("{PLACED}\"Ostro emulated GPU 1, ")), "{errors}");
    assert!(errors.contains(&format!("GPU 0 {reason}")), "{errors}");
}
