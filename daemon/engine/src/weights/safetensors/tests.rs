//! Hostile safetensors files and directories: each is refused with an error that says where.

use std::fs;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::tiny::{TinyFamily, TinyModel};

fn file(header: &str, data_bytes: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.resize(bytes.len() + data_bytes, 0);
    bytes
}

fn error(bytes: &[u8]) -> String {
    let error = Header::parse(bytes).expect_err("the file is hostile");
    let source = std::error::Error::source(&error).map(ToString::to_string);
    format!("{error}: {}", source.unwrap_or_default())
}

fn check(header: &str, data_bytes: usize, expected: &str) {
    let message = error(&file(header, data_bytes));
    assert!(message.contains(expected), "{message}");
}

fn walk(header: &Header, file: &[u8]) {
    for name in header.tensor_names() {
        let view = header.tensor(name, file).unwrap();
        assert_eq!(view.bytes.len(), view.elements() * view.dtype.block_bytes(), "{name}");
    }
}

fn tiny_directory() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    TinyModel::new(TinyFamily::Llama).write_directory(folder.path()).unwrap();
    folder
}

fn open_error(folder: &Path) -> String {
    let error = SafetensorsDir::open(folder).expect_err("the directory is bad");
    let sources = std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source());
    sources.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[test]
fn a_good_header_gives_views() {
    let header = r#"{"__metadata__":{"format":"pt"},
        "b":{"dtype":"F16","shape":[2,3],"data_offsets":[4,16]},
        "a":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}  "#;
    let mut bytes = file(header, 0);
    bytes.extend(0..16);
    let header = Header::parse(&bytes).unwrap();
    let (a, b) = (header.tensor("a", &bytes).unwrap(), header.tensor("b", &bytes).unwrap());
    assert_eq!((a.dtype, a.shape, a.bytes), (WeightType::F32, vec![], &[0, 1, 2, 3][..]));
    assert_eq!((b.dtype, b.shape, b.bytes[0], b.bytes.len()), (WeightType::F16, vec![2, 3], 4, 12));
    assert!(header.tensor("__metadata__", &bytes).is_none());
}

#[test]
fn hostile_lengths_are_refused() {
    assert!(error(b"").contains("has 0 bytes"));
    assert!(error(&[0; 7]).contains("has 7 bytes"));
    let claim = |length: u64| error(&[&length.to_le_bytes()[..], b"{}"].concat());
    assert!(claim(3).contains("claims 3 bytes, the file has 2"));
    assert!(claim(60 << 20).contains("claims 62914560 bytes"));
    assert!(claim(100_000_000).contains("at most 67108864"));
    assert!(claim(u64::MAX).contains("at most 67108864"));
    assert!(claim(0).contains("not a JSON object"));
}

#[test]
fn hostile_headers_are_refused() {
    check("[]", 0, "expected an object of tensors");
    check("{", 0, "EOF while parsing");
    check("{}", 4, "4 bytes at offset 0 belong to no tensor");
    check(r#"{"":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#, 4, "name has 0 bytes");
    check(r#"{"w":3}"#, 4, "tensor \"w\": invalid type");
    check(r#"{"w":{"dtype":"F32","shape":[1]}}"#, 4, "missing field `data_offsets`");
    check(r#"{"w":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}"#, 4, "tensor \"w\"");
    check(r#"{"w":{"dtype":"F32","shape":[1.5],"data_offsets":[0,4]}}"#, 4, "tensor \"w\"");
    check(
        r#"{"w":{"dtype":"F32","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,4]}}"#,
        4,
        "at most 8 dimensions",
    );
    check(r#"{"w":{"dtype":"F8_E4M3","shape":[4],"data_offsets":[0,4]}}"#, 4, "\"w\" has type F8_E4M3");
    check(r#"{"w":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}"#, 0, "\"w\" has a dimension of 0");
    let huge = r#"{"w":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]}}"#;
    check(huge, 4, "more elements than memory can hold");
    check(r#"{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}"#, 4, "take 8 bytes");
    check(r#"{"w":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}"#, 4, "take 4 bytes");
    check(r#"{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#, 3, "past the data's end at 3");
    let far =
        r#"{"w":{"dtype":"F32","shape":[1],"data_offsets":[18446744073709551608,18446744073709551612]}}"#;
    check(far, 4, "past the data's end at 4");
    check(r#"{"w":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#, 8, "from 4, where 0 was expected");
    check(r#"{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#, 5, "1 bytes at offset 4");
    let twice = r#"{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"w":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#;
    check(twice, 8, "tensor \"w\" occurs twice");
    let overlapping = r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}"#;
    check(overlapping, 12, "\"b\" has data from 4, where 8 was expected");
}

#[test]
fn deep_and_large_json_is_refused_quickly() {
    const DEPTH: usize = 100_000;
    check(&"[".repeat(DEPTH), 0, "expected an object of tensors");
    check(&format!("{{\"w\":{}", "[".repeat(DEPTH)), 0, "tensor \"w\"");
    check(&format!("{{\"w\":{{\"dtype\":\"F32\",\"shape\":{}", "[".repeat(DEPTH)), 0, "tensor \"w\"");
    check(&"{\"w\":".repeat(DEPTH), 0, "tensor \"w\"");
    check(&format!("{{\"__metadata__\":{}", "[".repeat(DEPTH)), 0, "not a JSON object");
    check(&format!("{{\"w\":{{\"x\":{}", "{\"a\":".repeat(DEPTH)), 0, "tensor \"w\"");
    let zeros = format!("{{\"w\":{{\"dtype\":\"F32\",\"shape\":[{}1]}}}}", "1,".repeat(1 << 20));
    check(&zeros, 0, "at most 8 dimensions");
}

#[test]
fn flipped_bits_and_truncations_never_panic() {
    let folder = tiny_directory();
    let file = fs::read(folder.path().join(SINGLE_FILE)).unwrap();
    let header_end = 8 + u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    let mut refused = 0;
    for position in 0..header_end {
        for bit in 0..8 {
            let mut hostile = file.clone();
            hostile[position] ^= 1 << bit;
            match Header::parse(&hostile) {
                Ok(header) => walk(&header, &hostile),
                Err(_) => refused += 1,
            }
        }
    }
    assert!(refused > 1000, "only {refused} were refused");
    for length in (0..header_end).chain((header_end..file.len()).step_by(997)) {
        assert!(Header::parse(&file[..length]).is_err(), "{length} of {} bytes", file.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn arbitrary_tensors_never_panic(
        shape in proptest::collection::vec(prop_oneof![0u64..5, any::<u64>()], 0..4),
        start in prop_oneof![0u64..64, any::<u64>()],
        end in prop_oneof![0u64..64, any::<u64>()],
    ) {
        let header = json!({"w": {"dtype": "BF16", "shape": shape, "data_offsets": [start, end]}});
        let bytes = file(&header.to_string(), 32);
        if let Ok(header) = Header::parse(&bytes) {
            walk(&header, &bytes);
        }
    }
}

#[test]
fn shards_read_like_one_file() {
    let (one, many) = (tiny_directory(), tempfile::tempdir().unwrap());
    TinyModel::new(TinyFamily::Llama).write_sharded_directory(many.path()).unwrap();
    let (one, many) = (SafetensorsDir::open(one.path()).unwrap(), SafetensorsDir::open(many.path()).unwrap());
    assert_eq!(one.tensor_names().collect::<Vec<_>>(), many.tensor_names().collect::<Vec<_>>());
    for name in one.tensor_names() {
        assert_eq!(one.tensor(name).unwrap().bytes, many.tensor(name).unwrap().bytes, "{name}");
    }
}

#[test]
fn hostile_indexes_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    TinyModel::new(TinyFamily::Llama).write_sharded_directory(folder.path()).unwrap();
    let check = |index: &str, expected: &str| {
        fs::write(folder.path().join(INDEX_FILE), index).unwrap();
        let message = open_error(folder.path());
        assert!(message.contains(expected), "{message}");
    };
    let secret = folder.path().join("secret.safetensors");
    for file in
        ["../secret.safetensors", secret.to_str().unwrap(), "a/../b.safetensors", "./a.safetensors", "..", ""]
    {
        let index = json!({"weight_map": {"w": file}}).to_string();
        check(&index, "is not a plain file name");
    }
    check(r#"{"weight_map":{"w":"tokenizer.json"}}"#, "is not a plain file name");
    check(r#"{"weight_map":{"w":"absent.safetensors"}}"#, "absent.safetensors");
    check(r#"{"weight_map":{"w":"model-00001-of-00002.safetensors"}}"#, "tensor \"w\" in model-00001");
    check(r#"{"weight_map":{}}"#, "names no tensor");
    check(r#"{"weight_map":{"w":7}}"#, "not valid JSON");
    check("{}", "missing field `weight_map`");
    check(&"[".repeat(100_000), "not valid JSON");
    let files: serde_json::Map<_, _> =
        (0..5000).map(|i| (format!("w{i}"), json!(format!("{i}.safetensors")))).collect();
    check(&json!({"weight_map": files}).to_string(), "at most 4096");
}

#[test]
fn bad_settings_files_are_refused() {
    let folder = tiny_directory();
    let config = folder.path().join("config.json");
    let check = |content: &str, expected: &str| {
        fs::write(&config, content).unwrap();
        let message = open_error(folder.path());
        assert!(message.contains(expected), "{message}");
    };
    check("", "config.json is not valid JSON");
    check("[]", "config.json is not a JSON object");
    check(&"[".repeat(100_000), "config.json is not valid JSON");
    check(&" ".repeat(5 << 20), "at most 4194304");
    check(r#"{"quantization_config":{"quant_method":"gptq"}}"#, "quantised by \"gptq\"");
    check(r#"{"quantization_config":{}}"#, "quantised by \"an unnamed method\"");
    fs::remove_file(&config).unwrap();
    fs::create_dir(&config).unwrap();
    assert!(open_error(folder.path()).contains("not a regular file"));
}

#[test]
fn directories_without_weights_are_refused() {
    let folder = tiny_directory();
    fs::remove_file(folder.path().join(SINGLE_FILE)).unwrap();
    assert!(open_error(folder.path()).contains("neither model.safetensors nor"));
    fs::write(folder.path().join(SINGLE_FILE), b"").unwrap();
    assert!(open_error(folder.path()).contains("is empty"));
    fs::remove_file(folder.path().join(SINGLE_FILE)).unwrap();
    fs::create_dir(folder.path().join(SINGLE_FILE)).unwrap();
    assert!(open_error(folder.path()).contains("not a regular file"));
}

#[test]
fn symbolic_links_are_followed_as_hub_caches_need() {
    let (blobs, snapshot) = (tiny_directory(), tempfile::tempdir().unwrap());
    for file in ["config.json", SINGLE_FILE] {
        std::os::unix::fs::symlink(blobs.path().join(file), snapshot.path().join(file)).unwrap();
    }
    assert!(SafetensorsDir::open(snapshot.path()).is_ok());
}
