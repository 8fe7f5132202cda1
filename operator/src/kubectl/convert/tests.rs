use ostro_config::keys::{Key, keys};
use ostro_config::to_snake;
use proptest::prelude::*;
use toml::{Table, Value as Toml};

use super::*;

/// What YAML could take for something else than text.
const TEXTS: [&str; 24] = [
    "a/b",
    "on",
    "y",
    "No",
    "null",
    "~",
    "1e3",
    "0x1F",
    "1_000",
    "12:30:45",
    "2026-01-01",
    ".5",
    "- a",
    "a: b",
    "#x",
    "it's",
    "\"q\"",
    "a\\b",
    "{a}",
    "@x",
    " lead and trail ",
    "é 漢 🦀",
    "env:TOKEN",
    "two  spaces, and long enough that \
    a writer of YAML would want to fold the line, which must not change what it says: 0123456789",
];

fn value(kind: &Kind) -> BoxedStrategy<Toml> {
    let text = || prop::sample::select(TEXTS.to_vec()).prop_map(Toml::from);
    match kind {
        Kind::Switch | Kind::OptionalBool => any::<bool>().prop_map(Toml::from).boxed(),
        Kind::Whole { min, max } => (*min as i64..=*max as i64).prop_map(Toml::from).boxed(),
        Kind::WholeChoice(all) => {
            prop::sample::select(all.clone()).prop_map(|one| Toml::from(one as i64)).boxed()
        }
        Kind::Fraction => prop_oneof![Just(1.0), 1e-9..1.0f64].prop_map(Toml::from).boxed(),
        Kind::Text(_) | Kind::Path => text().boxed(),
        Kind::Choice(all) => prop::sample::select(all.clone()).prop_map(Toml::from).boxed(),
        Kind::List(of) => prop::collection::vec(value(of), 1..4).prop_map(Toml::from).boxed(),
        Kind::Tables(names) => {
            let names = names.clone();
            let table = prop::collection::vec(text(), names.len())
                .prop_map(move |texts| Toml::Table(names.iter().cloned().zip(texts).collect()));
            prop::collection::vec(table, 1..3).prop_map(Toml::from).boxed()
        }
    }
}

fn serve_keys() -> Vec<&'static Key> {
    let is_ours = |key: &&Key| {
        key.command != Some(Command::Run) && key.path != "command" && key.path != "models.model_id"
    };
    keys().iter().filter(is_ours).collect()
}

fn set(table: &mut Table, path: &str, model: usize, value: Toml) {
    let (name, rest) = path.split_once('.').unwrap_or((path, ""));
    if rest.is_empty() {
        table.insert(name.to_owned(), value);
        return;
    }
    let below = match name {
        "models" => &mut table["models"].as_array_mut().unwrap()[model],
        name => table.entry(name).or_insert_with(|| Toml::Table(Table::new())),
    };
    set(below.as_table_mut().unwrap(), rest, model, value);
}

/// Takes out a key or an empty table's last one, by a path as in `models[0].device.cpu`.
fn remove(table: &mut Table, path: &str) -> bool {
    let (first, rest) = path.split_once('.').unwrap_or((path, ""));
    let (name, index) = first.split_once('[').unwrap_or((first, ""));
    if rest.is_empty() {
        return table.remove(name).is_some();
    }
    let below = match (table.get_mut(name), index.trim_end_matches(']').parse::<usize>()) {
        (Some(Toml::Array(items)), Ok(index)) => items.get_mut(index),
        (below, _) => below,
    };
    below.and_then(Toml::as_table_mut).is_some_and(|table| remove(table, rest))
}

fn problems(table: &Table) -> Option<Problems> {
    let loaded = match Loaded::from_toml("", &toml::to_string(table).unwrap()) {
        Ok(loaded) => loaded,
        Err(problems) => return Some(problems),
    };
    let spec: InferenceDeploymentSpec = serde_json::from_value(loaded.written_spec().into()).unwrap();
    spec.validate().err()
}

/// Without the keys that break a rule; `None` where that is not enough.
fn repaired(mut table: Table) -> Option<Table> {
    while let Some(problems) = problems(&table) {
        let mut is_changed = false;
        for problem in problems.0 {
            let path = problem.key.strip_prefix("spec.").map_or(Some(problem.key.clone()), to_snake)?;
            is_changed |= remove(&mut table, &path);
        }
        if !is_changed {
            return None;
        }
    }
    Some(table)
}

fn models(names: &[&str]) -> Table {
    let models =
        names.iter().map(|name| Toml::Table(Table::from_iter([("model_id".to_owned(), Toml::from(*name))])));
    Table::from_iter([("models".to_owned(), models.collect::<Vec<_>>().into())])
}

fn configurations() -> impl Strategy<Value = Table> {
    let entry =
        prop::sample::select(serve_keys()).prop_flat_map(|key| (Just(key), 0..2usize, value(&key.kind)));
    let ids = prop::sample::subsequence(TEXTS.map(str::trim).to_vec(), 2);
    (ids, prop::collection::vec(entry, 0..16)).prop_filter_map("cannot be repaired", |(ids, entries)| {
        let mut table = models(&ids);
        for (key, model, value) in entries {
            set(&mut table, &key.path, model, value);
        }
        repaired(table)
    })
}

fn spec(manifest: &str) -> Map<String, Value> {
    let object: Value = serde_saphyr::from_str(manifest).unwrap();
    object["spec"].as_object().unwrap().clone()
}

fn check_toml(table: &Table) {
    let text = toml::to_string(table).unwrap();
    let manifest = to_manifest("ostro.toml", &text, "m").unwrap().text;
    let again = to_toml("m.yaml", &manifest).unwrap().text;
    assert_eq!(&toml::from_str::<Table>(&again).unwrap(), table, "{text}\n{manifest}");
}

proptest! {
    #[test]
    fn toml_comes_back(table in configurations()) {
        check_toml(&table);
    }

    #[test]
    fn manifests_come_back(table in configurations(), replicas in 0..9i32) {
        let loaded = Loaded::from_toml("", &toml::to_string(&table).unwrap()).unwrap();
        let daemon = loaded.written_spec();
        let mut whole = daemon.clone();
        whole.insert("replicas".to_owned(), replicas.into());
        whole.insert("nodeSelector".to_owned(), json!({ "disk": "on" }));
        let object = json!({ "apiVersion": API_VERSION, "kind": KIND, "metadata": { "name": "m" }, "spec": whole });
        let converted = to_toml("m.yaml", &offline::yaml(&object).unwrap()).unwrap();
        let left_out = "cannot hold metadata.name, spec.replicas, spec.nodeSelector";
        prop_assert!(converted.notes.iter().any(|note| note.contains(left_out)), "{:?}", converted.notes);
        let again = to_manifest("ostro.toml", &converted.text, "m").unwrap().text;
        prop_assert_eq!(spec(&again), daemon);
    }
}

#[test]
fn every_key_comes_back() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut kept = 0;
    for key in serve_keys() {
        // Some keys take one of the texts only.
        for _ in 0..8 {
            let mut table = models(&["a/b"]);
            let partner = key.requires.first().and_then(|path| ostro_config::keys::key(path));
            for key in partner.into_iter().chain([key]) {
                let value =
                    proptest::strategy::ValueTree::current(&value(&key.kind).new_tree(&mut runner).unwrap());
                set(&mut table, &key.path, 0, value);
            }
            let Some(repaired) = repaired(table.clone()) else { continue };
            check_toml(&repaired);
            kept += usize::from(repaired == table);
        }
    }
    assert!(kept > 5 * serve_keys().len(), "{kept}");
}

#[test]
fn what_cannot_be_converted_is_told() {
    let cases = [
        (
            "command = \"run\"\n[[models]]\nmodel_id = \"a\"\n",
            "ostro.toml:1: command = \"run\" is for a terminal, and pods serve",
        ),
        (
            "[[models]]\nmodel_id = \"a\"\n[server]\nhost = \"127.0.0.1\"\n",
            "ostro.toml, as an InferenceDeployment: spec.server.host must be reachable from outside of the pod",
        ),
        ("[[models]]\nmodel_id = \"a\"\ndtyp = \"f32\"\n", "ostro.toml:3: models[0].dtyp"),
        ("", "ostro.toml: models is missing: at least one [[models]] entry is needed"),
        (
            "[paged_attn]\ncontext_len = 1\nmemory_mb = 1\n[[models]]\nmodel_id = \"a\"\n",
            "ostro.toml:3: paged_attn.memory_mb = 1 conflicts with paged_attn.context_len",
        ),
    ];
    for (text, expected) in cases {
        let error = to_manifest("ostro.toml", text, "m").unwrap_err().to_string();
        assert!(error.starts_with(expected) && !error.contains("--"), "{error}");
    }
    let many = "[[models]]\nmodel_id = \"a\"\n".to_owned();
    let many = (0..20).map(|index| many.replace('a', &format!("a{index}"))).collect::<String>();
    let error = to_manifest("ostro.toml", &many, "m").unwrap_err().to_string();
    assert!(
        error.starts_with("ostro.toml, as an InferenceDeployment: spec.models must have at most 16"),
        "{error}"
    );
    let text = "command = \"serve\" # as always\n[[models]]\nmodel_id = \"a\"\nchat_template = \"t.jinja\"\n";
    let notes = to_manifest("dir/ostro.toml", text, "m").unwrap().notes;
    assert_eq!(notes[0], "comments are not converted");
    assert!(notes[1].starts_with("spec.models[0].chatTemplate is a relative path"), "{notes:?}");
    assert_eq!(notes.len(), 2);
}

#[test]
fn notes_tell_what_is_so() {
    let check = |text: &str, expected: &[&str]| {
        let notes = to_manifest("ostro.toml", text, "m").unwrap().notes;
        let is_told = notes.iter().zip(expected).all(|(note, expected)| note.starts_with(expected));
        assert!(notes.len() == expected.len() && is_told, "{text}: {notes:?}");
    };
    let model = |id: &str| format!("[[models]]\nmodel_id = {id}\n");
    for id in ["\"a #b\"", "'a #b'", "\"\"\"a\\\n  #b\"\"\"", "\"a/b\"", "\"/models/a.gguf\""] {
        check(&model(id), &[]);
    }
    for text in ["# mine\n".to_owned() + &model("'a'"), model("'a'#b"), model("'a'").replace("]]", "]]\t#")] {
        check(&text, &["comments are not converted"]);
    }
    for id in ["'./a'", "'a.gguf'", "'a/b/c'", "'~/a'", "'a/'"] {
        check(&model(id), &["spec.models[0].modelId is a relative path"]);
    }
}

#[test]
fn the_direction_is_that_of_the_input() {
    let toml = "[[models]]\nmodel_id = \"a\"\n";
    let yaml = "kind: InferenceDeployment\n";
    for (path, text, expected) in [
        ("x.toml", yaml, Format::Cr),
        ("x.yaml", toml, Format::Toml),
        ("-", toml, Format::Cr),
        ("-", yaml, Format::Toml),
        ("x", "{\"kind\": \"InferenceDeployment\"}", Format::Toml),
    ] {
        assert_eq!(other_format(Path::new(path), text), expected, "{path} {text}");
    }
}

#[test]
fn a_file_of_another_name_wants_one() {
    let name = |file: &str, name: Option<&str>| {
        let args = ConvertArgs { file: file.into(), to: None, name: name.map(str::to_owned) };
        object_name(&args).map_err(|error| error.to_string())
    };
    assert_eq!(name("dir/smollm2.toml", None).as_deref(), Ok("smollm2"));
    assert_eq!(name("-", Some("m-1")).as_deref(), Ok("m-1"));
    for file in ["-", "My Model.toml", "1m.toml"] {
        let error = name(file, None).unwrap_err();
        assert!(error.contains("give one by --name"), "{file}: {error}");
    }
}
