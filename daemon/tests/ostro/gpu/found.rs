//! GPUs that the driver finds and that cannot be used, beside others or once they are opened.

use super::{Machine, PLACED, check_load};

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

#[test]
fn gpu_that_cannot_be_opened_is_told_before_a_model_meets_it() {
    let faults = [("OSTRO_FAKE_CUDA_FAIL", "cuDevicePrimaryCtxRetain:1:46")];
    let Some(machine) = Machine::new(&faults) else { return };
    let ended = machine.run(&["doctor"]);
    assert_eq!((ended.code, ended.errors.as_str()), (Some(1), "error: 1 check failed\n"), "{ended:?}");
    let failed = ended.output.lines().find(|line| line.starts_with("failed   gpu ")).unwrap();
    let reason = "cannot use the GPU: CUDA-capable device(s) is/are busy or unavailable (CUDA_ERROR_DEVICE_UNAVAILABLE)";
    assert!(failed.contains("0: Ostro emulated GPU 0, ") && failed.contains(reason), "{failed}");
    check_load(&faults, &[], &[reason]);
}

#[test]
fn programs_get_what_is_free_of_a_gpu_and_what_is_wrong_with_others() {
    let Some(machine) = Machine::new(&[("OSTRO_FAKE_CUDA", "faulty-first")]) else { return };
    let ended = machine.run(&["doctor", "--json"]);
    let report: serde_json::Value = serde_json::from_str(&ended.output).unwrap();
    let [good] = &report["gpus"].as_array().unwrap()[..] else { panic!("{report}") };
    assert_eq!((&good["ordinal"], &good["free_bytes"]), (&1.into(), &(2_u64 << 30).into()), "{report}");
    assert!(good["problem"].is_null(), "{report}");
    assert_eq!(report["unusable_gpus"][0]["ordinal"], 0, "{report}");
}
