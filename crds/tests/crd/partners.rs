//! Keys of the daemon that need or refuse each other: a table of cases made from the list of keys, which the API server
//! is held to as well.

use ostro_config::keys::{Key, Kind, key, keys};
use ostro_config::{Command, to_camel};
use serde_json::{Map, Value, json};

use crate::verdicts::{plain, verdicts};

/// `OSTRO_UPDATE_DOCS=1 cargo test -p ostro-crds` writes it.
const TABLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/partners.json");

/// A value that a key takes.
fn sample(key: &Key) -> Value {
    fn of(kind: &Kind) -> Value {
        match kind {
            Kind::Switch | Kind::OptionalBool => true.into(),
            Kind::Whole { min, max } => (*min).max(3).min(*max).into(),
            Kind::WholeChoice(values) => values[0].into(),
            Kind::Fraction => 0.5.into(),
            Kind::Text(_) | Kind::Path => "x/y".into(),
            Kind::Choice(values) => values[0].clone().into(),
            Kind::List(kind) => json!([of(kind)]),
            Kind::Tables(_) => json!([{ "alias": "a", "source": "x/y" }]),
        }
    }
    of(&key.kind)
}

/// A spec with these keys set.
fn spec_with(set: &[&Key]) -> Value {
    let mut spec = json!({ "models": [{ "modelId": "a/b" }] });
    for key in set {
        let path = to_camel(&key.path);
        let (mut at, path) = match path.strip_prefix("models.") {
            Some(rest) => (&mut spec["models"][0], rest.to_owned()),
            None => (&mut spec, path),
        };
        for name in path.split('.') {
            if at.is_null() {
                *at = Value::Object(Map::new());
            }
            at = &mut at[name];
        }
        *at = sample(key);
    }
    spec
}

#[test]
fn partners_of_keys_are_demanded_and_refused_by_both() {
    let lines: Vec<String> = cases().iter().map(|case| format!("  {case}")).collect();
    let table = format!("[\n{}\n]\n", lines.join(",\n"));
    if std::env::var_os("OSTRO_UPDATE_DOCS").is_some() {
        std::fs::write(TABLE, &table).unwrap();
    }
    assert!(std::fs::read_to_string(TABLE).unwrap() == table, "{TABLE} is not current");
}

fn cases() -> Vec<Value> {
    let mut cases = Vec::new();
    for of in keys().iter().filter(|key| key.command != Some(Command::Run)) {
        if !of.requires.is_empty() {
            cases.push(case(spec_with(&[of]), true));
        }
        for partner in &of.requires {
            cases.push(case(spec_with(&[of, key(partner).unwrap()]), false));
        }
        for partner in &of.conflicts {
            let mut set = vec![key(partner).unwrap(), of];
            // What the two require is there, so that only their conflict is left.
            let required: Vec<&Key> =
                set.iter().filter_map(|key| key.requires.first()).filter_map(|path| key(path)).collect();
            set.extend(required);
            cases.push(case(spec_with(&set), true));
        }
    }
    cases
}

/// With what CEL says of it, once `validate()` says the same.
fn case(spec: Value, is_broken: bool) -> Value {
    let (cel, rust) = verdicts(&spec);
    assert_eq!((cel.is_empty(), rust.is_empty()), (!is_broken, !is_broken), "{spec}: {cel:?} {rust:?}");
    let rust: Vec<String> = rust.iter().map(|message| plain(message)).collect();
    for message in &cel {
        assert!(rust.contains(message), "{message}: {rust:?}");
    }
    json!({ "spec": spec, "broken": cel })
}
