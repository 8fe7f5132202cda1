use super::*;
use crate::text::{Special, SpecialTokens};
use crate::weights::gguf::{Metadata, Strings};

fn strings(values: &[&str]) -> Vec<String> {
    values.iter().map(|value| (*value).to_owned()).collect()
}

/// Byte-level BPE over a handful of letters.
fn byte_level() -> GgufVocabulary {
    GgufVocabulary {
        model: "gpt2".into(),
        pre: Some("gpt-2".into()),
        tokens: strings(&["<|end|>", "a", "b", "Ġ", "ab", "Ġab", "Ċ", "Ã", "©"]),
        token_types: vec![3, 1, 1, 1, 1, 1, 1, 1, 1],
        merges: strings(&["a b", "Ġ ab"]),
        bos: Some(0),
        eos: Some(0),
        ..Default::default()
    }
}

/// SentencePiece: `ab` scores better than `bc`; `é` must be spelt in bytes.
fn scored() -> GgufVocabulary {
    GgufVocabulary {
        model: "llama".into(),
        tokens: strings(&[
            "<unk>", "<s>", "<0xC3>", "<0xA9>", "▁", "a", "b", "c", "ab", "bc", "▁ab", "<0x00>",
        ]),
        scores: vec![0.0, 0.0, 0.0, 0.0, -9.0, -9.0, -9.0, -9.0, -1.0, -2.0, -3.0, 0.0],
        token_types: vec![2, 3, 6, 6, 1, 1, 1, 1, 1, 1, 1, 6],
        bos: Some(1),
        unk: Some(0),
        ..Default::default()
    }
}

fn word_pieces() -> GgufVocabulary {
    GgufVocabulary {
        model: "bert".into(),
        tokens: strings(&["[PAD]", "[UNK]", "[CLS]", "[SEP]", "▁play", "ing", "▁the", "▁,"]),
        token_types: vec![3, 2, 3, 3, 1, 1, 1, 1],
        unk: Some(1),
        cls: Some(2),
        sep: Some(3),
        ..Default::default()
    }
}

#[track_caller]
fn check(vocabulary: &GgufVocabulary, text: &str, special: Special, expected: &[TokenId]) {
    let tokenizer = vocabulary.build_tokenizer().unwrap();
    assert_eq!(tokenizer.encode(text, special).unwrap(), expected, "{text:?}");
}

#[test]
fn byte_level_merges_by_rank_and_spells_every_byte() {
    check(&byte_level(), "ab ab\né", Special::Keep, &[4, 5, 6, 7, 8]);
    check(&byte_level(), "ab<|end|>a", Special::Keep, &[4, 0, 1]);
    check(&byte_level(), "ab", Special::Add, &[4]);
    check(
        &GgufVocabulary { add_bos: Some(true), add_eos: Some(true), ..byte_level() },
        "ab",
        Special::Add,
        &[0, 4, 0],
    );
    let named = GgufVocabulary { cls: Some(1), sep: Some(2), ..byte_level() };
    check(
        &GgufVocabulary { add_bos: Some(true), add_eos: Some(true), ..named },
        "ab",
        Special::Add,
        &[0, 4, 0],
    );
}

#[test]
fn a_frame_is_the_file_s_own_tokens_whatever_their_types() {
    let vocabulary = GgufVocabulary { token_types: vec![], ..word_pieces() };
    let ids = vocabulary.build_tokenizer().unwrap().encode("the", Special::Add).unwrap();
    assert_eq!((ids.first(), ids.last()), (Some(&2), Some(&3)), "{ids:?}");
}

#[test]
fn sentence_pieces_merge_by_score_and_fall_back_to_bytes() {
    check(&scored(), "abc", Special::Keep, &[10, 7]);
    check(&scored(), "cabc", Special::Add, &[1, 4, 7, 8, 7]);
    check(&scored(), "é", Special::Keep, &[4, 2, 3]);
    check(&scored(), "x", Special::Keep, &[4, 0]);
    check(&GgufVocabulary { add_space_prefix: Some(false), ..scored() }, "ab", Special::Keep, &[8]);
}

#[test]
fn word_pieces_match_greedily_in_lower_case() {
    check(&word_pieces(), "The playing, xyz", Special::Keep, &[6, 4, 5, 7, 1]);
    check(&word_pieces(), "Play", Special::Add, &[2, 4, 3]);
}

#[test]
fn decoding_joins_bytes_and_drops_the_added_space() {
    let decoded = |vocabulary: GgufVocabulary, ids: &[TokenId]| {
        vocabulary.build_tokenizer().unwrap().decode(ids, SpecialTokens::Skip)
    };
    assert_eq!(decoded(byte_level(), &[0, 5, 7, 8, 0]), " abé");
    assert_eq!(decoded(scored(), &[1, 10, 2, 3]), "abé");
    assert_eq!(decoded(word_pieces(), &[2, 4, 5, 6, 3]), "playing the");
    assert_eq!(decoded(byte_level(), &[1, 4_000_000_000, 2]), "ab");
}

#[test]
fn bytes_of_a_token_may_be_part_of_a_character() {
    let tokenizer = byte_level().build_tokenizer().unwrap();
    assert_eq!(
        [7, 8, 5, 0].map(|id| tokenizer.bytes().get(id).to_vec()),
        [&b"\xc3"[..], b"\xa9", b" ab", b"<|end|>"]
    );
    assert!(tokenizer.bytes().is_special(0) && !tokenizer.bytes().is_special(1));
}

#[track_caller]
fn refused(vocabulary: GgufVocabulary, expected: &str) {
    assert_eq!(vocabulary.build_tokenizer().unwrap_err().to_string(), expected);
}

#[test]
fn what_contradicts_itself_is_refused_by_name() {
    refused(
        GgufVocabulary { model: "rwkv".into(), ..byte_level() },
        "tokenizer model \"rwkv\" is not supported (supported: gpt2, llama, bert, gemma4)",
    );
    refused(
        GgufVocabulary { pre: Some("new-one".into()), ..byte_level() },
        "pre-tokenizer \"new-one\" is not supported",
    );
    refused(GgufVocabulary { tokens: vec![], ..byte_level() }, "the vocabulary has no tokens");
    refused(
        GgufVocabulary { scores: vec![0.0; 3], ..byte_level() },
        "the vocabulary has 9 tokens but 3 scores",
    );
    refused(
        GgufVocabulary { eos: Some(9), ..byte_level() },
        "eos_token_id is 9, but the vocabulary has 9 tokens",
    );
    refused(GgufVocabulary { scores: vec![], ..scored() }, "the vocabulary has no scores");
    refused(GgufVocabulary { unk: None, ..word_pieces() }, "the vocabulary has no unknown token");
    refused(GgufVocabulary { merges: vec![], ..byte_level() }, "the vocabulary has no merges");
    for merge in ["a", "", "a c", "b a", " a", "a  b", "a b b"] {
        let message = format!("merge 1 ({merge:?}) is not two tokens whose concatenation is a token");
        refused(GgufVocabulary { merges: strings(&["a b", merge]), ..byte_level() }, &message);
    }
    let mut long = byte_level();
    long.tokens[1] = "a".repeat(TOKEN_BYTES_MAX + 1);
    refused(long, "token 1 is 4097 bytes long, more than 4096");
}

#[test]
fn types_of_tokens_that_are_not_there_take_no_more_memory_than_the_file() {
    let mut metadata = Metadata::default();
    metadata.insert("tokenizer.ggml.model", "gpt2");
    metadata.insert("tokenizer.ggml.tokens", ["a"].into_iter().collect::<Strings>());
    metadata.insert("tokenizer.ggml.token_type", vec![1i32; 1 << 20].as_slice());
    let vocabulary = GgufVocabulary::read(&metadata).unwrap();
    // As large as the smallest numbers that a file has.
    assert_eq!(size_of_val(vocabulary.token_types.as_slice()), 1 << 20);
    assert_eq!(vocabulary.token_types.capacity(), 1 << 20);
    refused(vocabulary, "the vocabulary has 1 tokens but 1048576 token types");
}

#[test]
fn an_older_file_of_qwen2_is_cut_as_all_of_them_were() {
    let mut metadata = Metadata::default();
    metadata.insert("tokenizer.ggml.model", "gpt2");
    metadata.insert("general.architecture", "llama");
    assert_eq!(GgufVocabulary::read(&metadata).unwrap().pre, None);
    metadata.insert("general.architecture", "qwen2");
    assert_eq!(GgufVocabulary::read(&metadata).unwrap().pre.as_deref(), Some("qwen2"));
    metadata.insert("tokenizer.ggml.pre", "deepseek-r1-qwen");
    assert_eq!(GgufVocabulary::read(&metadata).unwrap().pre.as_deref(), Some("deepseek-r1-qwen"));
}

#[test]
fn an_early_file_of_llama_has_the_ids_that_all_of_them_had() {
    let ids = |metadata: &Metadata| {
        let read = GgufVocabulary::read(metadata).unwrap();
        [read.bos, read.eos, read.unk]
    };
    let mut metadata = Metadata::default();
    metadata.insert("tokenizer.ggml.model", "llama");
    metadata.insert("tokenizer.ggml.tokens", ["<unk>", "<s>", "</s>", "a"].into_iter().collect::<Strings>());
    assert_eq!(ids(&metadata), [Some(1), Some(2), Some(0)]);
    metadata.insert("tokenizer.ggml.eos_token_id", 3u32);
    metadata.insert("tokenizer.ggml.bos_token_id", u32::MAX);
    assert_eq!(ids(&metadata), [None, Some(3), Some(0)]);
    metadata.insert("tokenizer.ggml.tokens", ["a", "b", "c", "d"].into_iter().collect::<Strings>());
    assert_eq!(ids(&metadata), [None, Some(3), None]);
    metadata.insert("tokenizer.ggml.tokens", ["<unk>", "<s>", "</s>", "a"].into_iter().collect::<Strings>());
    metadata.insert("tokenizer.ggml.model", "gpt2");
    assert_eq!(ids(&metadata), [None, Some(3), None]);
}

#[test]
fn an_id_that_nothing_uses_need_not_be_there() {
    check(&GgufVocabulary { pad: Some(9), ..byte_level() }, "ab", Special::Keep, &[4]);
}

#[test]
fn equal_tokens_and_wild_scores_do_no_harm() {
    let mut doubled = byte_level();
    doubled.tokens.push("ab".into());
    doubled.token_types.push(1);
    check(&doubled, "ab", Special::Keep, &[4]);
    let wild = GgufVocabulary { scores: vec![f32::NAN; 12], token_types: vec![200; 12], ..scored() };
    assert!(wild.build_tokenizer().unwrap().encode("abc é", Special::Keep).is_ok());
}

#[test]
fn a_text_the_regular_expressions_give_up_on_is_an_error() {
    let tokenizer =
        GgufVocabulary { pre: Some("llama-bpe".into()), ..byte_level() }.build_tokenizer().unwrap();
    let spaces = " ".repeat(12_000_000) + "a";
    assert!(tokenizer.encode(&spaces, Special::Keep).is_err());
    assert_eq!(tokenizer.encode("ab", Special::Keep).unwrap(), [4]);
}
