//! Flags in, a document or messages out.

use super::*;
use crate::keys::{Flag, Kind, key_of_flag};
use crate::{CacheType, Command, Place};

pub(super) fn load(command: Command, flags: &[(&str, &[&str])]) -> Result<Loaded, Problems> {
    let mut document = Document::for_command(command);
    for (long, texts) in flags {
        let (key, flag) = key_of_flag(long).unwrap();
        let texts: Vec<String> = texts.iter().map(|text| text.to_string()).collect();
        document.set_flag(key, flag, &texts).map_err(|problem| Problems(vec![problem]))?;
    }
    Loaded::from_document(document)
}

#[test]
fn flags_set_keys_and_are_named_in_messages() {
    let loaded =
        load(Command::Serve, &[("model-id", &["m"]), ("port", &["80"]), ("cpu", &["true"])]).unwrap();
    assert_eq!(loaded.config.server.port.get(), 80);
    assert_eq!(loaded.config.models[0].device.cpu, Some(true));
    let error = load(Command::Serve, &[("model-id", &["m"]), ("port", &["eighty"])]).unwrap_err();
    assert_eq!(error.to_string(), "--port: server.port = \"eighty\" must be a whole number from 0 to 65535");
    let error = load(Command::Run, &[("port", &["80"]), ("model-id", &["m"])]).unwrap_err();
    assert_eq!(error.to_string(), "--port: server.port = 80 applies to command = \"serve\" only");
    let error = load(Command::Serve, &[("seed", &["1"])]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "models is missing: at least one [[models]] entry is needed, or --model-id"
    );
}

#[test]
fn flags_of_lists_and_units_are_read() {
    let given: &[(&str, &[&str])] = &[
        ("model-id", &["m"]),
        ("device-layers", &["0:16;1:8"]),
        ("lora", &["a=x", "{\"alias\": \"b\", \"source\": \"y\", \"revision\": \"main\"}"]),
        ("lora-max-bytes", &["8GiB"]),
    ];
    let model = &load(Command::Serve, given).unwrap().config.models[0];
    assert_eq!(model.device.device_layers.iter().map(|of| of.layers).collect::<Vec<_>>(), [16, 8]);
    assert_eq!(model.adapter.lora[0].source.as_str(), "x");
    assert_eq!(model.adapter.lora[1].revision.as_ref().unwrap().as_str(), "main");
    assert_eq!(model.adapter.lora_max_bytes.unwrap().get(), 8 << 30);
}

#[test]
fn flags_override_a_file_and_origins_say_so() {
    let text = format!("[server]\nport = 1\n[paged_attn]\ncache_type = \"f16\"\n{MODEL}");
    let mut document = Document::parse("a.toml", &text).unwrap();
    let (key, flag) = key_of_flag("port").unwrap();
    document.set_flag(key, flag, &["2".to_owned()]).unwrap();
    let loaded = Loaded::from_document(document).unwrap();
    assert_eq!(loaded.config.server.port.get(), 2);
    assert_eq!(loaded.config.paged_attn.cache_type, CacheType::F16);
    let effective = loaded.effective();
    let place = |path: &str| effective.iter().find(|entry| entry.path == path).unwrap().place.to_string();
    assert_eq!(place("server.port"), "--port");
    assert_eq!(place("paged_attn.cache_type"), "a.toml:4");
    assert_eq!(place("models[0].model_id"), "a.toml:6");
    assert_eq!(place("runtime.max_seqs"), "default");
}

#[test]
fn flags_override_a_key_by_its_other_name() {
    let text = format!("command = \"run\"\nenable_thinking = true\n{MODEL}");
    let mut document = Document::parse("a.toml", &text).unwrap();
    let (key, flag) = key_of_flag("thinking").unwrap();
    document.set_flag(key, flag, &["false".to_owned()]).unwrap();
    let loaded = Loaded::from_document(document).unwrap();
    assert_eq!(loaded.config.thinking, Some(false));
    assert_eq!(loaded.document.place("thinking"), Place::Flag("--thinking".to_owned()));
}

#[test]
fn model_flag_needs_a_single_model() {
    let text = "[[models]]\nmodel_id = \"m\"\n[[models]]\nmodel_id = \"n\"\n";
    let mut document = Document::parse("a.toml", text).unwrap();
    let (key, flag) = key_of_flag("dtype").unwrap();
    let problem = document.set_flag(key, flag, &["f32".to_owned()]).unwrap_err();
    assert_eq!(problem.place, Place::Flag("--dtype".to_owned()));
}

#[test]
fn numbers_are_taken_to_their_bounds_and_no_further() {
    for (key, flag) in keys().iter().filter_map(|key| Some((key, key.flag.as_ref()?))) {
        let Kind::Whole { min, max } = key.kind else { continue };
        let message = |number: &str| {
            let mut document = Document::default();
            document.set_flag(key, flag, &[number.to_owned()]).unwrap();
            let (path, problems) = (key.path.replace("models.", "models[0]."), check_keys(&mut document));
            let of_key = problems.into_iter().find(|problem| problem.key == path);
            of_key.map(|problem| problem.to_string())
        };
        assert_eq!((message(&min.to_string()), message(&max.to_string())), (None, None), "{}", key.path);
        let below = (i128::from(min) - 1).to_string();
        let above = (i128::from(max) + 1).to_string();
        for number in [below, above, "1.5".to_owned(), format!("{max}0")] {
            let expected = format!("= {number} must be {}", key.kind.allowed());
            let message = message(&number).unwrap_or_default();
            assert!(
                message.starts_with(&format!("--{}: ", flag.long)) && message.ends_with(&expected),
                "{message}"
            );
        }
    }
}

#[test]
fn every_key_can_be_set_by_its_flag() {
    let without_flag: Vec<&str> =
        keys().iter().filter(|key| key.flag.is_none()).map(|key| key.path.as_str()).collect();
    assert_eq!(without_flag, ["command", "default_model_id"]);
    for key in keys() {
        let Some((owner, flag)) = key.flag.as_ref().and_then(|flag| key_of_flag(&flag.long)) else {
            continue;
        };
        let value = samples(key).remove(0);
        let mut document = Document::for_command(key.command.unwrap_or(Command::Serve));
        document.set_flag(owner, flag, &[as_flag(&value, flag)]).unwrap();
        let root = alone(owner, value);
        let (table, name) = split(&owner.path);
        let set = document.root.get(table.split('.').next().unwrap_or(name)).cloned();
        let expected = root.get(table.split('.').next().unwrap_or(name)).cloned();
        if !owner.path.starts_with("models.") && !table.is_empty() {
            assert_eq!(set, expected, "{}", key.path);
        }
        assert_eq!(document.written.len(), 2, "{}", key.path);
    }
}

fn as_flag(value: &Value, flag: &Flag) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(|item| as_flag(item, flag)).collect();
            items.join(&flag.separator.map(String::from).unwrap_or_default())
        }
        Value::Table(table) => serde_json::to_string(table).unwrap(),
        value => value.to_string(),
    }
}
