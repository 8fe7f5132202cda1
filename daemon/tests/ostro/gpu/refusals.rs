//! Calls that the driver refuses without the GPU being lost: the emulated driver, whose faults the environment chooses.

use super::{Machine, launches};
use crate::support::running::{CHAT, Running};

#[test]
fn steps_that_cannot_be_recorded_answer_all_the_same() {
    let Some(mut machine) = Machine::new(&[]) else { return };
    let expected = machine.answer(&[]);
    assert!(!expected.errors.contains("WARN"), "{expected:?}");
    // Recording, what is made of it, its start, and its start when it is replayed.
    for call in
        ["cuStreamBeginCapture:1", "cuGraphInstantiateWithFlags:1", "cuGraphLaunch:1", "cuGraphLaunch:2"]
    {
        machine.faults = vec![("OSTRO_FAKE_CUDA_FAIL", format!("{call}:2"))];
        let answer = machine.answer(&[]);
        assert_eq!(answer.output, expected.output, "{call}: {answer:?}");
        let warnings: Vec<&str> = answer.errors.lines().filter(|line| line.contains("WARN")).collect();
        let [warning] = warnings[..] else { panic!("{call}: {answer:?}") };
        assert!(warning.contains("no longer recorded"), "{call}: {warning}");
        assert!(warning.contains("out of memory (CUDA_ERROR_OUT_OF_MEMORY)"), "{call}: {warning}");
    }
}

/// Of lasting refusals somebody must know in the end: steps are ten until the engine ends.
#[test]
fn launches_that_are_refused_fail_requests_and_the_engine_only_after_many() {
    let Some(mut machine) = Machine::new(&[]) else { return };
    let launches = launches(&mut machine);
    // In the step of the prompt, and in one that decodes.
    for launch in [launches, launches + 10] {
        let fault = format!("cuLaunchKernel:{launch}:2,cuLaunchKernelEx:{launch}:2");
        machine.faults = vec![("OSTRO_FAKE_CUDA_FAIL", fault)];
        let server = Running::of(machine.command(&["serve", "-m", "tiny.gguf"]));
        for _ in 0..9 {
            let (status, body) = server.request("POST", "/v1/chat/completions", CHAT);
            assert_eq!(status, 500, "{body}");
            assert!(body.contains("CUDA_ERROR_OUT_OF_MEMORY") && !body.contains("lost"), "{body}");
            assert_eq!(server.request("GET", "/health", "").0, 200);
        }
        // The tenth ends it, and whoever comes then is told so.
        server.request("POST", "/v1/chat/completions", CHAT);
        let (status, body) = server.request("POST", "/v1/chat/completions", CHAT);
        assert!((500..=503).contains(&status), "{status} {body}");
        assert!(body.contains("refuses every step") && body.contains("CUDA_ERROR_OUT_OF_MEMORY"), "{body}");
        assert_eq!(server.request("GET", "/health", "").0, 503);
    }
}
