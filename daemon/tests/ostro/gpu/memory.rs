//! What fits onto a GPU: the emulated driver, with little memory.

use ostro_engine::tiny::{TinyFamily, TinyModel};

use super::{GPU, Machine};
use crate::support::running::{CHAT, Running};

/// Steps that take little beside the weights.
const SMALL_STEPS: [&str; 4] = ["--max-num-batched-tokens", "64", "--max-seqs", "2"];

#[test]
fn f32_weights_are_counted_as_the_f16_that_they_become() {
    const MEMORY_MB: u64 = 8;
    let Some(machine) = Machine::new(&[("OSTRO_FAKE_CUDA_MEMORY_MB", &MEMORY_MB.to_string())]) else {
        return;
    };
    let path = machine.home.folder.path().join("deep.gguf");
    TinyModel::new(TinyFamily::Llama).layers(72).write_gguf(&path).unwrap();
    let file_bytes = std::fs::metadata(&path).unwrap().len();
    assert!(file_bytes > MEMORY_MB << 20, "a file of {file_bytes} bytes fits as it is");
    let arguments = ["run", "-m", "deep.gguf", "-i", "hello", "--max-tokens", "2", "-v"];
    let ended = machine.run(&[&arguments[..], &SMALL_STEPS].concat());
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.errors.contains(&format!("placed model=\"deep.gguf\" device=\"{GPU}, ")), "{ended:?}");
}

#[test]
fn models_of_one_gpu_leave_each_other_room() {
    let Some(machine) = Machine::new(&[("OSTRO_FAKE_CUDA_MEMORY_MB", "16")]) else { return };
    let names = ["first.gguf", "second.gguf"];
    for name in names {
        // So long that the first one's cache could fill the GPU.
        let model = TinyModel::new(TinyFamily::Llama).context_length(8192);
        model.write_gguf(&machine.home.folder.path().join(name)).unwrap();
    }
    let models = names.map(|name| format!("[[models]]\nmodel_id = \"{name}\"\n")).concat();
    machine.home.write("a.toml", &format!("[runtime]\nmax_num_batched_tokens = 64\n{models}"));
    let server = Running::of(machine.command(&["from-config", "-f", "a.toml"]));
    for name in names {
        let request = CHAT.replacen('{', &format!("{{\"model\":\"{name}\","), 1);
        let (status, body) = server.request("POST", "/v1/chat/completions", &request);
        assert_eq!(status, 200, "{name}: {body}");
    }
}
