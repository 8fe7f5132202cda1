//! A good file cut, flipped and spliced: refused, or still consistent.

use std::sync::OnceLock;

use proptest::prelude::*;

use super::*;

/// Touches everything a head gives out; a head that parsed must be consistent.
fn walk(head: &Head, file: &[u8]) {
    for (_, value) in head.metadata.iter() {
        match value {
            Value::Array(Array::Strings(strings)) => assert_eq!(strings.iter().count(), strings.len()),
            Value::Array(Array::Numbers(numbers)) => {
                let ints =
                    numbers.iter().filter(|number| number.as_int().is_some() || number.as_uint().is_some());
                assert!(ints.count() == 0 || !numbers.number_type().is_float());
            }
            _ => {}
        }
    }
    let mut ranges = Vec::new();
    for name in head.tensor_names() {
        let view = head.tensor(name, file).unwrap();
        let blocks = view.elements() / view.dtype.block_elements();
        assert_eq!(view.bytes.len(), blocks * view.dtype.block_bytes(), "{name}");
        let start = view.bytes.as_ptr() as usize - file.as_ptr() as usize;
        ranges.push(start..start + view.bytes.len());
    }
    ranges.sort_by_key(|range| range.start);
    assert!(ranges.windows(2).all(|pair| pair[0].end <= pair[1].start), "tensors overlap");
}

#[test]
fn every_truncation_is_refused() {
    let file = tiny_bytes();
    let head = Head::parse(&file).unwrap();
    let head_bytes =
        head.tensor_names().map(|name| head.tensor(name, &file).unwrap().bytes.as_ptr() as usize);
    let data_start = head_bytes.min().unwrap() - file.as_ptr() as usize;
    // Every length of the head, and lengths all over the data.
    for length in (0..data_start + 64).chain((data_start..file.len()).step_by(997)).chain([file.len() - 1]) {
        assert!(Head::parse(&file[..length]).is_err(), "{length} of {} bytes", file.len());
    }
}

#[test]
fn flipped_bits_never_panic() {
    let file = tiny_bytes();
    let mut refused = 0;
    // Every byte of what stands before the vocabulary, then a spread over the rest of the head.
    for position in (0..2048).chain((2048..file.len().min(24_000)).step_by(7)) {
        for bit in 0..8 {
            let mut hostile = file.clone();
            hostile[position] ^= 1 << bit;
            match Head::parse(&hostile) {
                Ok(head) => walk(&head, &hostile),
                Err(_) => refused += 1,
            }
        }
    }
    assert!(refused > 1000, "only {refused} were refused: the flips miss the head");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn spliced_files_never_panic(
        at in 0usize..20_000,
        bytes in proptest::collection::vec(any::<u8>(), 1..24),
        removed in 0usize..64,
    ) {
        let file = TINY.get_or_init(tiny_bytes);
        let at = at % file.len();
        let end = (at + removed).min(file.len());
        let hostile = [&file[..at], &bytes, &file[end..]].concat();
        if let Ok(head) = Head::parse(&hostile) {
            walk(&head, &hostile);
        }
    }

    #[test]
    fn random_heads_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        let hostile = [&MAGIC[..], &3u32.to_le_bytes(), &bytes].concat();
        if let Ok(head) = Head::parse(&hostile) {
            walk(&head, &hostile);
        }
    }
}

static TINY: OnceLock<Vec<u8>> = OnceLock::new();
