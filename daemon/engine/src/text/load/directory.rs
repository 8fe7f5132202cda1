//! Reads the text files of a Hugging Face model directory.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use serde_json::{Map, Value as Json};

use super::{Found, TextError, TextOverrides, read_file};
use crate::request::TokenId;
use crate::text::chat_template::TemplateTokens;
use crate::text::token_bytes::{LeadingSpace, Spelling, TokenBytes};
use crate::text::token_model::ModelTokenizer;
use crate::text::tokenize::Tokenizer;

type Object = Map<String, Json>;

pub(super) fn read(path: &Path, overrides: &TextOverrides) -> Result<Found, TextError> {
    let tokenizer = match &overrides.tokenizer {
        Some(file) => read_tokenizer(file)?,
        None => read_own_tokenizer(path)?,
    };
    let config = read_object(&path.join("tokenizer_config.json"))?;
    let special_map = read_object(&path.join("special_tokens_map.json"))?;
    let generation = read_object(&path.join("generation_config.json"))?;
    let model = read_object(&path.join("config.json"))?;

    let token = |name: &str| token_text(&config, name).or_else(|| token_text(&special_map, name));
    let tokens = TemplateTokens {
        bos: token("bos_token"),
        eos: token("eos_token"),
        unk: token("unk_token"),
        pad: token("pad_token"),
    };
    let id_of = |text: &Option<String>| text.as_deref().and_then(|text| tokenizer.id_of(text));
    let mut eos = ids(&generation, "eos_token_id");
    if eos.is_empty() {
        eos = ids(&model, "eos_token_id");
    }
    eos.extend(id_of(&tokens.eos));
    let bos = id_of(&tokens.bos).or_else(|| ids(&model, "bos_token_id").first().copied());
    let templates = read_templates(path, &config)?;
    Ok(Found { tokenizer, templates, tokens, bos, eos })
}

fn read_own_tokenizer(path: &Path) -> Result<Tokenizer, TextError> {
    let file = path.join("tokenizer.json");
    if file.exists() {
        return read_tokenizer(&file);
    }
    let other = ["tokenizer.model", "tekken.json", "vocab.txt", "vocab.json"];
    let hint = match other.iter().find(|name| path.join(name).exists()) {
        Some(_) => " (tokenizer.model, tekken.json and vocab files alone are not supported)",
        None => "",
    };
    Err(TextError::NoTokenizer { path: path.to_owned(), hint })
}

pub(super) fn read_tokenizer(path: &Path) -> Result<Tokenizer, TextError> {
    let bytes = read_file(path)?;
    let failed = |reason: String| TextError::Tokenizer { path: path.to_owned(), reason };
    ostro_json::check_keys(&bytes).map_err(|error| failed(error.to_string()))?;
    // The library indexes by numbers of the file (merges longer than any token, for one) and panics.
    let loaded = catch_unwind(AssertUnwindSafe(|| ModelTokenizer::from_bytes(&bytes)));
    let mut tokenizer = match loaded {
        Ok(Ok(tokenizer)) => tokenizer,
        Ok(Err(error)) => return Err(failed(error.to_string())),
        Err(_) => return Err(failed("its vocabulary contradicts itself".to_owned())),
    };
    tokenizer.with_truncation(None).map_err(|error| failed(error.to_string()))?;
    tokenizer.with_padding(None);
    let (spelling, leading_space) = decoding(&tokenizer);
    let table = TokenBytes::from_tokenizer(&tokenizer, spelling);
    Ok(Tokenizer::new(tokenizer, table, leading_space))
}

/// How the decoder of a `tokenizer.json` turns tokens into bytes.
fn decoding(tokenizer: &ModelTokenizer) -> (Spelling, LeadingSpace) {
    let decoder = tokenizer.get_decoder().and_then(|decoder| serde_json::to_value(decoder).ok());
    let decoder = decoder.unwrap_or_default();
    let steps = match decoder["decoders"].as_array() {
        Some(steps) => steps.as_slice(),
        None => std::slice::from_ref(&decoder),
    };
    let step = |name: &str| steps.iter().find(|step| step["type"] == name);
    let spelling = if step("ByteLevel").is_some() {
        Spelling::ByteLevel
    } else if step("WordPiece").is_some() {
        Spelling::WordPiece
    } else if step("Metaspace").is_some() || step("ByteFallback").is_some() || step("Replace").is_some() {
        Spelling::Metaspace
    } else {
        Spelling::Plain
    };
    let stripped = step("Strip").is_some_and(|strip| strip["content"] == " " && strip["start"] != 0);
    let metaspace = step("Metaspace").is_some_and(|metaspace| metaspace["prepend_scheme"] != "never");
    let added = stripped || metaspace || spelling == Spelling::WordPiece;
    (spelling, if added { LeadingSpace::Added } else { LeadingSpace::Own })
}

fn read_templates(path: &Path, config: &Object) -> Result<Vec<(String, String)>, TextError> {
    let own = path.join("chat_template.jinja");
    if own.exists() {
        return read_template_file(&own);
    }
    let templates = templates_of(config, &path.join("tokenizer_config.json"))?;
    let file = path.join("chat_template.json");
    if templates.is_empty() && file.exists() {
        return read_template_file(&file);
    }
    Ok(templates)
}

/// A `.jinja` file is a template; a `.json` file has it under `chat_template`, or is the string itself.
pub(super) fn read_template_file(path: &Path) -> Result<Vec<(String, String)>, TextError> {
    let default = |source: String| vec![("default".to_owned(), source)];
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("jinja" | "jinja2" | "j2") => {
            let invalid =
                |_| TextError::Field { path: path.to_owned(), field: "the template", expected: "UTF-8" };
            Ok(default(String::from_utf8(read_file(path)?).map_err(invalid)?))
        }
        Some("json") => match parse(path)? {
            Json::String(source) => Ok(default(source)),
            Json::Object(object) => {
                let templates = templates_of(&object, path)?;
                let missing =
                    TextError::Field { path: path.to_owned(), field: "chat_template", expected: "present" };
                if templates.is_empty() { Err(missing) } else { Ok(templates) }
            }
            _ => Err(wrong_template(path)),
        },
        _ => Err(TextError::TemplateName(path.to_owned())),
    }
}

/// `chat_template`: a string, or a list of `{name, template}`.
fn templates_of(object: &Object, path: &Path) -> Result<Vec<(String, String)>, TextError> {
    match object.get("chat_template") {
        None | Some(Json::Null) => Ok(Vec::new()),
        Some(Json::String(source)) => Ok(vec![("default".to_owned(), source.clone())]),
        Some(Json::Array(named)) => named
            .iter()
            .map(|entry| match (entry["name"].as_str(), entry["template"].as_str()) {
                (Some(name), Some(source)) => Ok((name.to_owned(), source.to_owned())),
                _ => Err(wrong_template(path)),
            })
            .collect(),
        Some(_) => Err(wrong_template(path)),
    }
}

fn wrong_template(path: &Path) -> TextError {
    let expected = "a string or a list of named templates";
    TextError::Field { path: path.to_owned(), field: "chat_template", expected }
}

/// A file that is not there is an empty object.
fn read_object(path: &Path) -> Result<Object, TextError> {
    match parse(path) {
        Ok(Json::Object(object)) => Ok(object),
        Ok(_) => {
            Err(TextError::Field { path: path.to_owned(), field: "the file", expected: "a JSON object" })
        }
        Err(TextError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(Object::new()),
        Err(error) => Err(error),
    }
}

fn parse(path: &Path) -> Result<Json, TextError> {
    let bytes = read_file(path)?;
    ostro_json::from_slice(&bytes).map_err(|source| TextError::Json { path: path.to_owned(), source })
}

/// A token is written as its text or as `{"content": text, …}`.
fn token_text(object: &Object, name: &str) -> Option<String> {
    let token = object.get(name)?;
    token.as_str().or_else(|| token["content"].as_str()).map(str::to_owned)
}

/// One id, or a list of ids.
fn ids(object: &Object, name: &str) -> Vec<TokenId> {
    let id = |value: &Json| value.as_u64().and_then(|id| TokenId::try_from(id).ok());
    match object.get(name) {
        Some(Json::Array(list)) => list.iter().filter_map(id).collect(),
        Some(one) => id(one).into_iter().collect(),
        None => Vec::new(),
    }
}
