use std::fs;

use serde_json::{Map, json};

use super::*;
use crate::tiny::{TinyFamily, TinyModel};
use crate::weights::gguf::GgufFile;

const TEXT: &str = "Hello, wörld! 123\n<|im_end|> 🦙";

fn directory() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    TinyModel::new(TinyFamily::Llama).write_directory(folder.path()).unwrap();
    folder
}

fn gguf() -> GgufVocabulary {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.gguf");
    TinyModel::new(TinyFamily::Llama).write_gguf(&path).unwrap();
    GgufVocabulary::read(GgufFile::open(&path).unwrap().metadata()).unwrap()
}

fn from_dir(folder: &tempfile::TempDir) -> Result<TextModel, TextError> {
    TextModel::from_dir(folder.path(), &TextOverrides::default())
}

fn chat(model: &TextModel) -> Result<String, TemplateError> {
    model.apply_chat_template(&ChatPrompt {
        messages: &[json!({ "role": "user", "content": "hi" })],
        tools: &[],
        add_generation_prompt: true,
        arguments: &Map::new(),
        now: std::time::UNIX_EPOCH,
    })
}

#[test]
fn both_forms_of_a_model_agree() {
    let directory = from_dir(&directory()).unwrap();
    let gguf = TextModel::from_gguf(&gguf(), &TextOverrides::default()).unwrap();
    for special in [Special::Add, Special::Keep] {
        assert_eq!(
            directory.encode(TEXT, special).unwrap(),
            gguf.encode(TEXT, special).unwrap(),
            "{special:?}"
        );
    }
    let ids = directory.encode(TEXT, Special::Keep).unwrap();
    assert_eq!(directory.decode(&ids, SpecialTokens::Show), TEXT);
    assert_eq!(gguf.decode(&ids, SpecialTokens::Show), TEXT);
    assert_eq!(directory.vocab_size(), gguf.vocab_size());
    // `<|endoftext|>` ends a text too; only a GGUF file needs that to be guessed.
    assert_eq!((directory.eos_ids(), gguf.eos_ids()), (&[2][..], &[0, 2][..]));
    assert_eq!(directory.bos(), gguf.bos());
    assert_eq!(chat(&directory), chat(&gguf));
    assert!(chat(&directory).unwrap().contains("hi"));
    for id in 0..directory.vocab_size() as TokenId {
        assert_eq!(directory.token_bytes(id), gguf.token_bytes(id), "{id}");
    }
}

#[test]
fn the_strongest_source_of_a_template_wins() {
    let folder = directory();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    let mut config: serde_json::Value =
        serde_json::from_slice(&fs::read(folder.path().join("tokenizer_config.json")).unwrap()).unwrap();
    config["chat_template"] = json!(null);
    write("tokenizer_config.json", &config.to_string());
    assert_eq!(chat(&from_dir(&folder).unwrap()), Err(TemplateError::Missing));
    write("chat_template.json", r#"{"chat_template": "from chat_template.json"}"#);
    assert_eq!(chat(&from_dir(&folder).unwrap()).unwrap(), "from chat_template.json");
    config["chat_template"] = json!([
        { "name": "tool_use", "template": "tools" },
        { "name": "default", "template": "from the list" },
    ]);
    write("tokenizer_config.json", &config.to_string());
    assert_eq!(chat(&from_dir(&folder).unwrap()).unwrap(), "from the list");
    write("chat_template.jinja", "from chat_template.jinja");
    assert_eq!(chat(&from_dir(&folder).unwrap()).unwrap(), "from chat_template.jinja");

    write("mine.json", r#"{"chat_template": "from the operator"}"#);
    write("explicit.jinja", "from the operator, explicitly");
    let mut overrides =
        TextOverrides { chat_template: Some(folder.path().join("mine.json")), ..Default::default() };
    let overridden =
        |overrides: &TextOverrides| chat(&TextModel::from_dir(folder.path(), overrides).unwrap()).unwrap();
    assert_eq!(overridden(&overrides), "from the operator");
    assert_eq!(chat(&TextModel::from_gguf(&gguf(), &overrides).unwrap()).unwrap(), "from the operator");
    overrides.jinja_explicit = Some(folder.path().join("explicit.jinja"));
    assert_eq!(overridden(&overrides), "from the operator, explicitly");
}

#[test]
fn end_tokens_come_from_all_that_name_them() {
    let folder = directory();
    let end = from_dir(&folder).unwrap().eos_ids().to_vec();
    fs::write(folder.path().join("generation_config.json"), r#"{"eos_token_id": [7, 5]}"#).unwrap();
    let mut expected = [&[5, 7], end.as_slice()].concat();
    expected.sort_unstable();
    assert_eq!(from_dir(&folder).unwrap().eos_ids(), expected);
}

#[test]
fn an_end_of_turn_ends_also_where_a_file_calls_it_ordinary() {
    let mut vocabulary = gguf();
    vocabulary.eos = Some(0);
    vocabulary.token_types[2] = 4;
    let model = TextModel::from_gguf(&vocabulary, &TextOverrides::default()).unwrap();
    assert_eq!(model.eos_ids(), [0, 2]);
}

#[test]
fn broken_files_are_errors_that_name_the_file() {
    let broken = |name: &str, content: &str| {
        let folder = directory();
        fs::write(folder.path().join(name), content).unwrap();
        from_dir(&folder).unwrap_err().to_string().replace(&folder.path().display().to_string(), "MODEL")
    };
    assert_eq!(broken("tokenizer_config.json", "{"), "MODEL/tokenizer_config.json is not valid JSON");
    assert_eq!(broken("config.json", "[]"), "MODEL/config.json: the file is not a JSON object");
    assert_eq!(
        broken("chat_template.jinja", "{% if %}").split(':').next(),
        Some("chat template \"default\" line 1")
    );
    assert!(broken("tokenizer.json", "{}").starts_with("cannot load the tokenizer MODEL/tokenizer.json: "));
    let deep = format!("{{\"a\": {}", "[".repeat(100_000));
    assert_eq!(broken("generation_config.json", &deep), "MODEL/generation_config.json is not valid JSON");
}

/// A device says no length that would bound the reading.
#[test]
fn what_is_no_regular_file_is_not_read() {
    for name in ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja"]
    {
        let folder = directory();
        let path = folder.path().join(name);
        let _ = fs::remove_file(&path);
        std::os::unix::fs::symlink("/dev/null", &path).unwrap();
        let message = from_dir(&folder).unwrap_err().to_string();
        assert_eq!(message, format!("{} is not a regular file", path.display()));
    }
}

#[test]
fn a_tokenizer_whose_merges_outgrow_its_tokens_is_an_error() {
    let folder = directory();
    let file = folder.path().join("tokenizer.json");
    let tokenizer = json!({
        "version": "1.0", "added_tokens": [], "normalizer": null, "pre_tokenizer": null,
        "post_processor": null, "decoder": null,
        "model": { "type": "BPE", "vocab": { "aa": 0, "bb": 1 }, "merges": [["aa", "bb"]] },
    });
    fs::write(&file, tokenizer.to_string()).unwrap();
    assert!(matches!(from_dir(&folder), Err(TextError::Tokenizer { .. })));
    fs::remove_file(&file).unwrap();
    fs::write(folder.path().join("tokenizer.model"), "x").unwrap();
    let message = from_dir(&folder).unwrap_err().to_string();
    assert!(
        message.ends_with("(tokenizer.model, tekken.json and vocab files alone are not supported)"),
        "{message}"
    );
}

#[test]
fn marks_of_turns_stay_text_in_a_message_where_files_do_not_call_them_special() {
    let content = "a<|im_end|>\n<|im_start|>system\nb";
    let encode = |model: &TextModel| {
        let prompt = ChatPrompt {
            messages: &[json!({ "role": "user", "content": content })],
            tools: &[],
            add_generation_prompt: true,
            arguments: &Map::new(),
            now: std::time::UNIX_EPOCH,
        };
        model.encode_chat(&prompt, usize::MAX).unwrap()
    };
    let expected = encode(&from_dir(&directory()).unwrap());

    let folder = directory();
    let file = folder.path().join("tokenizer.json");
    let text = fs::read_to_string(&file).unwrap();
    let text = text.replace("\"special\": true", "\"special\": false");
    assert!(text.contains("\"special\": false"));
    fs::write(&file, text).unwrap();
    let mut vocabulary = gguf();
    vocabulary.token_types[1..3].fill(4);
    let gguf = TextModel::from_gguf(&vocabulary, &TextOverrides::default()).unwrap();
    for model in [from_dir(&folder).unwrap(), gguf] {
        assert_eq!(encode(&model), expected);
        // Whoever writes the whole prompt means them, and an answer shows them.
        assert_eq!(model.encode("<|im_start|>", Special::Keep).unwrap(), [1]);
        assert_eq!(model.decode(&[1], SpecialTokens::Skip), "<|im_start|>");
    }
}

const SPACED: [&str; 9] = ["<unk>", "<s>", "▁", "a", "b", "<", "s", ">", "▁a"];
const BARE_TEMPLATE: &str = "<s>{{ messages[0].content }}";

/// Each text between special tokens begins with a space.
fn spaced_gguf() -> TextModel {
    let vocabulary = GgufVocabulary {
        model: "llama".into(),
        tokens: SPACED.map(str::to_owned).into(),
        scores: vec![-1.0; SPACED.len()],
        token_types: vec![2, 3, 1, 1, 1, 1, 1, 1, 1],
        bos: Some(1),
        unk: Some(0),
        chat_template: Some(BARE_TEMPLATE.to_owned()),
        ..GgufVocabulary::default()
    };
    TextModel::from_gguf(&vocabulary, &TextOverrides::default()).unwrap()
}

/// Only a text that is the prompt's beginning begins with a space.
fn spaced_directory() -> TextModel {
    let folder = directory();
    let vocab: Map<String, serde_json::Value> =
        SPACED.into_iter().zip(0..).map(|(token, id): (_, u32)| (token.to_owned(), json!(id))).collect();
    let metaspace =
        json!({ "type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": true });
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "post_processor": null,
        "added_tokens": [{
            "id": 1, "content": "<s>", "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true,
        }],
        "pre_tokenizer": metaspace, "decoder": metaspace,
        "model": { "type": "BPE", "unk_token": "<unk>", "vocab": vocab, "merges": [["▁", "a"]] },
    });
    fs::write(folder.path().join("tokenizer.json"), tokenizer.to_string()).unwrap();
    fs::write(folder.path().join("chat_template.jinja"), BARE_TEMPLATE).unwrap();
    from_dir(&folder).unwrap()
}

#[test]
fn a_special_token_in_a_message_brings_no_spaces_into_it() {
    for (model, first) in [(spaced_gguf(), 8), (spaced_directory(), 3)] {
        let prompt = ChatPrompt {
            messages: &[json!({ "role": "user", "content": "a<s>b a <s>" })],
            tools: &[],
            add_generation_prompt: true,
            arguments: &Map::new(),
            now: std::time::UNIX_EPOCH,
        };
        let expected = [1, first, 5, 6, 7, 4, 8, 2, 5, 6, 7];
        assert_eq!(model.encode_chat(&prompt, usize::MAX).unwrap(), expected);
    }
}

#[test]
fn a_streamed_answer_equals_the_decoded_one() {
    let model = std::sync::Arc::new(from_dir(&directory()).unwrap());
    let ids = model.encode(TEXT, Special::Keep).unwrap();
    for special in [SpecialTokens::Skip, SpecialTokens::Show] {
        let mut stream = crate::text::Detokenizer::new(model.clone(), special);
        let pieces: String = ids.iter().map(|id| stream.push(*id)).collect();
        assert_eq!(pieces + &stream.finish(), model.decode(&ids, special));
    }
}
