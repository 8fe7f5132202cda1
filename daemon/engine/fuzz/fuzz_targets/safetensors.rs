//! Any bytes as a safetensors file: refused, or every tensor's bytes fit its shape.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ostro_engine::weights::safetensors::Header;

fuzz_target!(|file: &[u8]| {
    let Ok(header) = Header::parse(file) else { return };
    let mut total = 0;
    for name in header.tensor_names() {
        let view = header.tensor(name, file).expect("a listed tensor");
        assert_eq!(view.bytes.len(), view.dtype.block_bytes() * view.elements());
        total += view.bytes.len();
    }
    assert!(total <= file.len());
});
