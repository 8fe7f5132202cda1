//! Hostile GGUF files: each is refused with an error that says where, and nothing panics.

mod mutated;

use super::write::{TensorData, write};
use super::*;
use crate::tiny::{TinyFamily, TinyModel};
use crate::weights::WeightType;

fn tiny_bytes() -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.gguf");
    TinyModel::new(TinyFamily::Qwen2).weight_type(WeightType::Q8_0).write_gguf(&path).unwrap();
    std::fs::read(path).unwrap()
}

/// A file of hand-made parts after the magic and version.
struct Builder(Vec<u8>);

impl Builder {
    fn new(tensors: u64, keys: u64) -> Self {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(3u32.to_le_bytes());
        bytes.extend(tensors.to_le_bytes());
        bytes.extend(keys.to_le_bytes());
        Builder(bytes)
    }

    fn u32(mut self, value: u32) -> Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    fn u64(mut self, value: u64) -> Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    fn str(self, text: &str) -> Self {
        let mut next = self.u64(text.len() as u64);
        next.0.extend(text.as_bytes());
        next
    }

    fn key(self, key: &str, value_type: u32) -> Self {
        self.str(key).u32(value_type)
    }

    fn tensor(self, name: &str, dimensions: &[u64], type_id: u32, start: u64) -> Self {
        let head = self.str(name).u32(dimensions.len() as u32);
        dimensions.iter().fold(head, |bytes, &n| bytes.u64(n)).u32(type_id).u64(start)
    }

    fn data(mut self, count: usize) -> Self {
        let start = self.0.len().next_multiple_of(32);
        self.0.resize(start + count, 0);
        self
    }

    fn error(self) -> String {
        Head::parse(&self.0).expect_err("the file is hostile").to_string()
    }
}

const F32: u32 = 0;
const Q8_0: u32 = 8;

#[test]
fn a_written_file_reads_back() {
    let mut metadata = Metadata::default();
    metadata.insert("general.alignment", 64u32);
    metadata.insert("a.string", "höhe");
    metadata.insert("a.bool", true);
    metadata.insert("a.float", 1.5f32);
    metadata.insert("some.strings", ["", "x", "日本"].into_iter().collect::<Strings>());
    metadata.insert("some.ints", [-1i32, 7].as_slice());
    let tensor = |name: &str, shape: &[usize], bytes: Vec<u8>| TensorData {
        name: name.into(),
        dtype: WeightType::F32,
        shape: shape.to_vec(),
        bytes,
    };
    let tensors = [tensor("b", &[2, 3], (0..24).collect()), tensor("a", &[1], vec![9; 4])];
    let mut file = Vec::new();
    write(&mut file, &metadata, &tensors).unwrap();
    let head = Head::parse(&file).unwrap();
    assert_eq!(head.metadata, metadata);
    assert_eq!(head.metadata.strings("some.strings").unwrap().unwrap().get(2), Some("日本"));
    assert!(head.metadata.ints("some.ints").unwrap().unwrap().eq([-1, 7]));
    let view = head.tensor("b", &file).unwrap();
    assert_eq!((view.shape, view.bytes), (vec![2, 3], &tensors[0].bytes[..]));
    assert_eq!(head.tensor("a", &file).unwrap().bytes, [9; 4]);
    assert_eq!(head.tensor_names().collect::<Vec<_>>(), ["a", "b"]);
}

#[test]
fn version_2_reads_like_version_3() {
    let mut file = tiny_bytes();
    let three = Head::parse(&file).unwrap();
    file[4] = 2;
    let two = Head::parse(&file).unwrap();
    assert_eq!(two.version, 2);
    assert_eq!(two.metadata, three.metadata);
    assert!(two.tensor_names().eq(three.tensor_names()));
}

#[test]
fn other_files_and_versions_are_refused() {
    let check = |bytes: &[u8], expected: &str| {
        let message = Head::parse(bytes).expect_err("refused").to_string();
        assert!(message.contains(expected), "{message}");
    };
    check(b"", "ends inside the header");
    check(b"GGU", "ends inside the header");
    check(b"PK\x03\x04rest", "not a GGUF file");
    check(b"GGUF\x01\0\0\0", "version 1 is not supported");
    check(b"GGUF\x04\0\0\0", "version 4 is not supported");
    check(b"GGUF\0\0\0\x03", "big-endian");
}

#[test]
fn wrong_types_name_the_key() {
    let mut metadata = Metadata::default();
    metadata.insert("n", 3.5f32);
    metadata.insert("s", "x");
    assert_eq!(
        metadata.uint("n").unwrap_err().to_string(),
        "key \"n\" is a float, expected a non-negative integer"
    );
    assert_eq!(metadata.float("s").unwrap_err().to_string(), "key \"s\" is a string, expected a number");
    assert_eq!(metadata.uint("absent"), Ok(None));
}

#[test]
fn hostile_counts_and_lengths_are_refused() {
    let huge = 1u64 << 63;
    let check = |builder: Builder, expected: &str| {
        let message = builder.error();
        assert!(message.contains(expected), "{message}");
    };
    check(Builder::new(huge, 0), "claims 9223372036854775808 tensors");
    check(Builder::new(0, huge), "claims 9223372036854775808 metadata keys");
    check(Builder::new(1 << 18, 0), "ends inside a tensor description");
    check(Builder::new(0, 1 << 16), "ends inside a metadata key");
    check(Builder::new(0, 1).u64(huge), "a metadata key at offset 32: 9223372036854775808 bytes wanted");
    check(Builder::new(0, 1).u64(0).u32(0), "key at offset 24 has 0 bytes");
    check(Builder::new(0, 1).key("k", 8).u64(u64::MAX), "a metadata value");
    for element in [0, 2, 4, 6, 7, 8, 10, 12] {
        for count in [huge, u64::MAX, u64::MAX / 8 + 1, 1 << 40] {
            check(Builder::new(0, 1).key("k", 9).u32(element).u64(count), "ends inside a metadata value");
        }
    }
    check(Builder::new(0, 1).key("k", 9).u32(9).u64(1).u32(9).u64(1), "array of arrays");
    check(Builder::new(0, 1).key("k", 13).u64(0), "unknown value type 13");
    check(Builder::new(0, 1).key("k", 9).u32(99).u64(0), "unknown value type 99");
    check(Builder::new(0, 2).key("k", 4).u32(1).key("k", 4).u32(2), "\"k\" at offset 41 occurs twice");
    let mut not_boolean = Builder::new(0, 1).key("k", 7);
    not_boolean.0.push(2);
    check(not_boolean, "has the boolean 2");
    let mut not_text = Builder::new(0, 1).key("k", 8).u64(2);
    not_text.0.extend([0xFF, 0xFE]);
    check(not_text, "is not UTF-8");
}

#[test]
fn heads_beyond_the_bound_are_refused_before_they_are_copied() {
    let mut builder = Builder::new(0, 1).key("k", 9).u32(0).u64(200 << 20);
    builder.0.resize(200 << 20, 0);
    builder.0.resize(builder.0.len() + 1024, 0);
    let message = builder.error();
    assert!(
        message.contains("a metadata value at offset 49 takes the head past 134217728 bytes"),
        "{message}"
    );
}

#[test]
fn hostile_alignments_are_refused() {
    for alignment in [0, 3, 33, 1 << 17, u32::MAX] {
        let message = Builder::new(0, 1).key(ALIGNMENT_KEY, 4).u32(alignment).error();
        assert!(message.contains(&format!("general.alignment is {alignment}")), "{message}");
    }
    let message = format!("{:?}", Head::parse(&Builder::new(0, 1).key(ALIGNMENT_KEY, 8).str("x").0));
    assert!(message.contains("expected: \"a non-negative integer\""), "{message}");
}

#[test]
fn split_models_are_refused_by_name() {
    let message = Builder::new(0, 1).key("split.count", 2).u32(0x0005_0003).error();
    assert!(message.contains("split over 3 files"), "{message}");
}

#[test]
fn hostile_tensors_are_refused() {
    let check = |builder: Builder, expected: &str| {
        let message = builder.data(4096).error();
        assert!(message.contains(expected), "{message}");
    };
    let one = |dimensions: &[u64], type_id, start| Builder::new(1, 0).tensor("w", dimensions, type_id, start);
    check(one(&[], F32, 0), "\"w\", described at offset 24, has 0 dimensions");
    check(one(&[1, 1, 1, 1, 1], F32, 0), "has 5 dimensions");
    check(one(&[4, 0], F32, 0), "dimension of 0");
    check(one(&[1 << 32, 1 << 32], F32, 0), "more elements than memory can hold");
    check(one(&[1 << 62, 4], F32, 0), "more elements than memory can hold");
    check(one(&[(1 << 61) + 1, 1], F32, 0), "more elements than memory can hold");
    check(one(&[u64::MAX], F32, 0), "more elements than memory can hold");
    check(one(&[1 << 40], F32, 0), "past the file's end");
    check(one(&[1 << 60], F32, 0), "past the file's end");
    check(one(&[1025], F32, 0), "past the file's end");
    check(one(&[4], F32, 4096), "past the file's end");
    check(one(&[4], F32, u64::MAX - 31), "past the file's end");
    check(one(&[4], F32, 8), "not a multiple of the alignment 32");
    check(one(&[33, 2], Q8_0, 0), "rows of 33 elements");
    check(one(&[32], 23, 0), "has type IQ4_XS, which is not supported");
    check(one(&[32], 4, 0), "has type number 4");
    check(one(&[32], u32::MAX, 0), "has type number 4294967295");
    let two = |b: &str, start| Builder::new(2, 0).tensor("a", &[64], F32, 0).tensor(b, &[64], F32, start);
    check(two("a", 256), "\"a\", described at offset 57, occurs twice");
    check(two("b", 0), "inside that of tensor");
    check(two("b", 224), "\"b\", described at offset 57, has data at");
    let long = "n".repeat(1025);
    check(Builder::new(1, 0).tensor(&long, &[4], F32, 0), "has a name of 1025 bytes");
    check(Builder::new(1, 0).tensor("", &[4], F32, 0), "has a name of 0 bytes");
    assert!(Head::parse(&two("b", 256).data(4096).0).is_ok(), "the builder can make a good file");
}
