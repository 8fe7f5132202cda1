//! Any bytes as a GGUF file: refused, or every tensor lies in the file and none overlap.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ostro_engine::weights::gguf::{Array, Head, Value};

fuzz_target!(|file: &[u8]| {
    let Ok(head) = Head::parse(file) else { return };
    for (key, value) in head.metadata.iter() {
        if let Value::Array(Array::Strings(strings)) = value {
            assert_eq!(strings.iter().count(), strings.len(), "{key}");
        }
        let _ = (head.metadata.uint(key), head.metadata.ints(key), head.metadata.floats(key));
    }
    let mut ranges = Vec::new();
    for name in head.tensor_names() {
        let view = head.tensor(name, file).expect("a listed tensor");
        assert_eq!(
            view.bytes.len(),
            view.dtype.block_bytes() * (view.elements() / view.dtype.block_elements())
        );
        let start = view.bytes.as_ptr() as usize - file.as_ptr() as usize;
        ranges.push((start, start + view.bytes.len()));
        let _ = view.first_non_finite();
    }
    ranges.sort_unstable();
    assert!(ranges.windows(2).all(|pair| pair[0].1 <= pair[1].0), "tensors overlap");
});
