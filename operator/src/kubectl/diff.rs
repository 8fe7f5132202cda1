//! What differs between two JSON values, field by field.

use std::fmt::Write;

use serde_json::Value;
use similar::{ChangeTag, TextDiff};

use crate::terminal;

/// One field; absent before or after is `None`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct FieldChange {
    /// As in `spec.template.spec.containers[ostro].image`.
    pub(super) path: String,
    pub(super) old: Option<Value>,
    pub(super) new: Option<Value>,
}

/// Empty exactly when the two are equal. Items of lists that have names are told apart by them.
pub(super) fn diff(old: &Value, new: &Value) -> Vec<FieldChange> {
    let mut changes = Vec::new();
    compare(&mut changes, "", old, new);
    changes
}

fn compare(changes: &mut Vec<FieldChange>, path: &str, old: &Value, new: &Value) {
    match (old, new) {
        (old, new) if old == new => {}
        (Value::Object(before), Value::Object(after)) => {
            for (name, old) in before {
                compare_field(changes, &field(path, name), Some(old), after.get(name));
            }
            for (name, new) in after.iter().filter(|(name, _)| !before.contains_key(*name)) {
                compare_field(changes, &field(path, name), None, Some(new));
            }
        }
        (Value::Array(before), Value::Array(after)) => compare_lists(changes, path, before, after),
        (old, new) => changes.push(change(path, Some(old), Some(new))),
    }
}

fn compare_field(changes: &mut Vec<FieldChange>, path: &str, old: Option<&Value>, new: Option<&Value>) {
    match (old, new) {
        (Some(old), Some(new)) => compare(changes, path, old, new),
        (old, new) => changes.push(change(path, old, new)),
    }
}

fn compare_lists(changes: &mut Vec<FieldChange>, path: &str, before: &[Value], after: &[Value]) {
    let (Some(names_before), Some(names_after)) = (names(before), names(after)) else {
        for index in 0..before.len().max(after.len()) {
            compare_field(changes, &format!("{path}[{index}]"), before.get(index), after.get(index));
        }
        return;
    };
    let find = |names: &[&str], name: &str| names.iter().position(|other| *other == name);
    let known = changes.len();
    for (name, old) in names_before.iter().zip(before) {
        let new = find(&names_after, name).map(|index| &after[index]);
        compare_field(changes, &item(path, name), Some(old), new);
    }
    for (name, new) in names_after.iter().zip(after) {
        if find(&names_before, name).is_none() {
            compare_field(changes, &item(path, name), None, Some(new));
        }
    }
    if changes.len() == known {
        // The same items in another order.
        changes.push(change(path, Some(&names_before.into()), Some(&names_after.into())));
    }
}

/// The items' names, if each has its own.
fn names(items: &[Value]) -> Option<Vec<&str>> {
    let names: Vec<&str> = items.iter().map(|item| item.get("name")?.as_str()).collect::<Option<_>>()?;
    let is_unique = (1..names.len()).all(|index| !names[..index].contains(&names[index]));
    (!names.is_empty() && is_unique).then_some(names)
}

fn change(path: &str, old: Option<&Value>, new: Option<&Value>) -> FieldChange {
    FieldChange { path: path.to_owned(), old: old.cloned(), new: new.cloned() }
}

fn field(path: &str, name: &str) -> String {
    let is_plain =
        !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    match (path.is_empty(), is_plain) {
        (true, true) => name.to_owned(),
        (false, true) => format!("{path}.{name}"),
        (_, false) => format!("{path}[{name:?}]"),
    }
}

/// On one line, whatever the name holds.
fn item(path: &str, name: &str) -> String {
    format!("{path}[{}]", terminal::line(name))
}

impl FieldChange {
    /// A line, or for a text of several lines those that differ.
    pub(super) fn text(&self) -> String {
        let path = &self.path;
        match (&self.old, &self.new) {
            (Some(Value::String(old)), Some(Value::String(new)))
                if old.contains('\n') || new.contains('\n') =>
            {
                let mut text = format!("{path}:");
                for change in TextDiff::from_lines(old.as_str(), new.as_str()).iter_all_changes() {
                    let sign = match change.tag() {
                        ChangeTag::Delete => '-',
                        ChangeTag::Insert => '+',
                        ChangeTag::Equal => continue,
                    };
                    // Writing to a String cannot fail.
                    let _ = write!(text, "\n{}", format!("  {sign} {}", change.value()).trim_end());
                }
                text
            }
            (Some(old), Some(new)) => format!("{path}: {old} -> {new}"),
            (None, Some(new)) => format!("{path}: added {new}"),
            (Some(old), None) => format!("{path}: removed {old}"),
            (None, None) => path.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn check(old: Value, new: Value, expected: &[&str]) {
        let found: Vec<String> = diff(&old, &new).iter().map(FieldChange::text).collect();
        assert_eq!(found, expected, "{old} {new}");
    }

    #[test]
    fn fields_are_named_as_people_do() {
        check(json!({ "a": { "b": 1, "c": 2 } }), json!({ "a": { "b": 3, "c": 2 } }), &["a.b: 1 -> 3"]);
        check(json!({ "a": {} }), json!({ "a": { "x.y/z": "t" } }), &["a[\"x.y/z\"]: added \"t\""]);
        check(json!({ "a": [1, 2] }), json!({ "a": [1] }), &["a[1]: removed 2"]);
        check(
            json!({ "env": [{ "name": "A", "value": "1" }, { "name": "B" }] }),
            json!({ "env": [{ "name": "B" }, { "name": "A", "value": "2" }, { "name": "C" }] }),
            &["env[A].value: \"1\" -> \"2\"", "env[C]: added {\"name\":\"C\"}"],
        );
        check(
            json!({ "env": [{ "name": "A" }, { "name": "B" }] }),
            json!({ "env": [{ "name": "B" }, { "name": "A" }] }),
            &["env: [\"A\",\"B\"] -> [\"B\",\"A\"]"],
        );
        check(
            json!({ "data": { "ostro.toml": "a = 1\nb = 2\n" } }),
            json!({ "data": { "ostro.toml": "a = 1\nb = 3\n" } }),
            &["data[\"ostro.toml\"]:\n  - b = 2\n  + b = 3"],
        );
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf =
            prop_oneof![Just(Value::Null), (0..3i64).prop_map(Value::from), "[ab]?".prop_map(Value::from)];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::hash_map("(name|a|b)", inner, 0..4)
                    .prop_map(|map| map.into_iter().collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn nothing_differs_exactly_between_equals(old in values(), new in values()) {
            prop_assert_eq!(diff(&old, &new).is_empty(), old == new);
            prop_assert!(diff(&old, &old).is_empty());
        }
    }
}
