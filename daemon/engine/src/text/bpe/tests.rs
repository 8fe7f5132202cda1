//! `Bpe` against the library's.

use proptest::prelude::*;
use serde_json::{Value as Json, json};
use tokenizers::models::ModelWrapper;
use tokenizers::tokenizer::Model;

use crate::request::TokenId;
use crate::text::token_model::TokenModel;

/// Letters that merge, one that is in no vocabulary and one of two bytes that is not either.
const LETTERS: [&str; 6] = ["a", "b", "c", "d", "z", "é"];

/// Tokens grown from single letters by random merges.
fn grow(pairs: &[(usize, usize)]) -> (Vec<String>, Vec<(String, String)>) {
    let mut tokens: Vec<String> = LETTERS[..4].iter().map(|&letter| letter.to_owned()).collect();
    let mut merges = Vec::new();
    for (left, right) in pairs {
        let (left, right) = (tokens[left % tokens.len()].clone(), tokens[right % tokens.len()].clone());
        let whole = format!("{left}{right}");
        if whole.len() <= 12 {
            merges.push((left, right));
            if !tokens.contains(&whole) {
                tokens.push(whole);
            }
        }
    }
    (tokens, merges)
}

fn model(pairs: &[(usize, usize)], options: &Json) -> Json {
    let (mut tokens, merges) = grow(pairs);
    tokens.push("<unk>".to_owned());
    let bytes = options["bytes"].as_array().map(Vec::as_slice).unwrap_or_default();
    tokens.extend(bytes.iter().map(|token| token.as_str().unwrap().to_owned()));
    let vocab: serde_json::Map<_, _> = tokens.into_iter().zip((3..).map(Json::from)).collect();
    json!({
        "type": "BPE",
        "vocab": vocab,
        "merges": merges,
        "unk_token": options["unk"],
        "fuse_unk": options["fuse"] == true,
        "byte_fallback": !bytes.is_empty(),
        "ignore_merges": options["ignore_merges"] == true,
    })
}

type Tokens = Vec<(TokenId, (usize, usize))>;

fn tokens(model: &impl Model, text: &str) -> Result<Tokens, String> {
    let tokens = model.tokenize(text).map_err(|error| error.to_string())?;
    Ok(tokens.into_iter().map(|token| (token.id, token.offsets)).collect())
}

#[track_caller]
fn own(model: &Json) -> TokenModel {
    let own: TokenModel = serde_json::from_str(&model.to_string()).unwrap();
    assert!(matches!(own, TokenModel::Bpe(_)), "{model}");
    own
}

#[track_caller]
fn check(model: &Json, text: &str) {
    let library: ModelWrapper = serde_json::from_value(model.clone()).unwrap();
    let own = own(model);
    let (got, want) = (tokens(&own, text), tokens(&library, text));
    // Both refuse texts for want of the unknown token only.
    assert_eq!(got.as_ref().ok(), want.as_ref().ok(), "{text:?} by {model}: {got:?}, {want:?}");
    assert!(got.is_ok() || model["unk_token"] == "<none>", "{got:?} by {model}");
    assert_eq!(own.get_vocab(), library.get_vocab());
    assert_eq!(own.get_vocab_size(), library.get_vocab_size());
    for (token, id) in library.get_vocab() {
        assert_eq!((own.token_to_id(&token), own.id_to_token(id)), (Some(id), Some(token)));
    }
}

fn options() -> impl Strategy<Value = Json> {
    let unk = prop_oneof![Just(Json::Null), Just(json!("<unk>")), Just(json!("<none>"))];
    let bytes =
        prop_oneof![Just(json!([])), Just(json!(["<0xC3>", "<0xA9>"])), Just(json!(["<0xC3>", "<0x7A>"]))];
    (unk, bytes, any::<bool>(), any::<bool>()).prop_map(|(unk, bytes, fuse, ignore_merges)| {
        json!({ "unk": unk, "bytes": bytes, "fuse": fuse, "ignore_merges": ignore_merges })
    })
}

proptest! {
    #[test]
    fn tokens_are_the_library_s(
        pairs in prop::collection::vec((0..40_usize, 0..40_usize), 0..40),
        options in options(),
        letters in prop::collection::vec(0..LETTERS.len(), 0..60),
    ) {
        let text: String = letters.into_iter().map(|at| LETTERS[at]).collect();
        check(&model(&pairs, &options), &text);
    }
}

#[test]
fn the_last_of_equal_merges_counts_and_older_files_write_lines() {
    let mut model = model(&[(0, 1), (1, 2), (0, 1)], &json!({}));
    check(&model, "abcab");
    model["merges"] = json!(["#version: 0.2", "b c", "a b"]);
    check(&model, "abcab");
}

#[test]
fn a_text_that_is_a_token_becomes_it_where_merges_do_not_count() {
    let model = json!({
        "type": "BPE", "vocab": { "a": 0, "b": 1, "c": 2, "abc": 3, "": 4 }, "merges": [], "ignore_merges": true,
    });
    for text in ["abc", "abca", ""] {
        check(&model, text);
    }
}

#[test]
fn fields_that_say_nothing_are_as_if_they_were_not_there() {
    let plain = model(&[(0, 1), (4, 2), (4, 4)], &json!({ "unk": "<unk>" }));
    for (field, value) in [
        ("fuse_unk", Json::Null),
        ("byte_fallback", Json::Null),
        ("ignore_merges", Json::Null),
        ("dropout", Json::Null),
        ("dropout", json!(0.0)),
        ("continuing_subword_prefix", json!("")),
        ("end_of_word_suffix", json!("")),
    ] {
        let mut model = plain.clone();
        model[field] = value;
        check(&model, "abcabzzab");
    }
}

#[test]
fn ids_may_have_gaps_and_the_unknown_token_may_merge() {
    let vocab = json!({ "a": u32::MAX, "b": 70_000, "?": 5, "ab": 1, "?a": 0 });
    let merges = json!([["a", "b"], ["?", "a"]]);
    let model = json!({ "type": "BPE", "vocab": vocab, "merges": merges, "unk_token": "?" });
    check(&model, "abzaabéab");
    check(&model, "zab");
}

#[test]
fn two_texts_of_one_id_merge_alike() {
    let vocab = json!({ "a": 1, "A": 1, "b": 2, "ab": 3, "c": 4 });
    let model = json!({ "type": "BPE", "vocab": vocab, "merges": [["a", "b"]] });
    let library: ModelWrapper = serde_json::from_value(model.clone()).unwrap();
    assert_eq!(tokens(&own(&model), "AbabcA").unwrap(), tokens(&library, "AbabcA").unwrap());
}

#[test]
fn what_is_not_done_here_is_the_library_s() {
    let model = model(&[(0, 1)], &json!({}));
    for (field, value) in [
        ("dropout", json!(0.5)),
        ("continuing_subword_prefix", json!("##")),
        ("end_of_word_suffix", json!("</w>")),
    ] {
        let mut model = model.clone();
        model[field] = value;
        model["merges"] = json!([]);
        let other: TokenModel = serde_json::from_str(&model.to_string()).unwrap();
        assert!(matches!(other, TokenModel::Library(_)), "{field}");
    }
    let mut older = model;
    older.as_object_mut().unwrap().remove("type");
    let older: TokenModel = serde_json::from_str(&older.to_string()).unwrap();
    assert!(matches!(older, TokenModel::Library(_)));
    assert_eq!(tokens(&older, "ab").unwrap().len(), 1);
}

#[test]
fn a_merge_of_what_is_no_token_is_refused() {
    let mut model = model(&[(0, 1)], &json!({}));
    for merge in [json!(["a", "c"]), json!(["a", "é"]), json!("ab"), json!("a b c")] {
        model["merges"] = json!([merge]);
        let error = serde_json::from_str::<TokenModel>(&model.to_string()).unwrap_err();
        assert!(error.to_string().contains("merge 0"), "{error}");
    }
}
