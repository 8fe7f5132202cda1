//! The merge itself. Null deletes, and is never part of what comes out.

use serde_json::{Map, Value};

use super::Fault;

const DIRECTIVE: &str = "$patch";
/// Of a list that merges, where each is looked for among all.
const ITEMS_MAX: usize = 256;

/// The field by which items of a list are told apart (`patchMergeKey` of the API types of a pod template); lists
/// without one are replaced.
pub(crate) fn merge_key(list: &str) -> Option<&'static str> {
    match list {
        "containers"
        | "initContainers"
        | "ephemeralContainers"
        | "volumes"
        | "imagePullSecrets"
        | "env"
        | "resourceClaims"
        | "schedulingGates" => Some("name"),
        "volumeMounts" => Some("mountPath"),
        "volumeDevices" => Some("devicePath"),
        "ports" => Some("containerPort"),
        "hostAliases" => Some("ip"),
        "topologySpreadConstraints" => Some("topologyKey"),
        _ => None,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Directive {
    Merge,
    Replace,
    Delete,
}

pub(super) fn merge(base: Value, patch: &Map<String, Value>) -> Result<Value, Fault> {
    Ok(objects("", Some(base), patch)?.unwrap_or_default())
}

/// `None` is what the patch deletes.
fn objects(path: &str, base: Option<Value>, patch: &Map<String, Value>) -> Result<Option<Value>, Fault> {
    let mut merged = match (directive(path, patch)?, base) {
        (Directive::Delete, _) => return Ok(None),
        (Directive::Merge, Some(Value::Object(base))) => base,
        _ => Map::new(),
    };
    for (name, patch) in patch.iter().filter(|(name, _)| *name != DIRECTIVE) {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        // `remove` would put the last field in its place.
        match value(&path, name, merged.shift_remove(name), patch)? {
            Some(value) => merged.insert(name.clone(), value),
            None => None,
        };
    }
    Ok(Some(merged.into()))
}

fn value(path: &str, name: &str, base: Option<Value>, patch: &Value) -> Result<Option<Value>, Fault> {
    match patch {
        Value::Null => Ok(None),
        Value::Object(patch) => objects(path, base, patch),
        Value::Array(items) => {
            let list = match (merge_key(name), base) {
                (Some(key), Some(Value::Array(base))) => keyed(path, key, base, items),
                (Some(key), _) => keyed(path, key, Vec::new(), items),
                (None, _) => replaced(path, items),
            };
            Ok(Some(list?.into()))
        }
        plain => Ok(Some(plain.clone())),
    }
}

/// Items with the key of one that is there change it, others are added.
fn keyed(path: &str, key: &str, base: Vec<Value>, items: &[Value]) -> Result<Vec<Value>, Fault> {
    if items.len() > ITEMS_MAX {
        return Err(Fault::new(
            path,
            format!("must have at most {ITEMS_MAX} items, and has {}", items.len()),
        ));
    }
    let mut merged = base;
    // In a list, it speaks of the whole list.
    if items.iter().any(is_replacement) {
        merged.clear();
    }
    for (index, item) in items.iter().enumerate().filter(|(_, item)| !is_replacement(item)) {
        let path = format!("{path}[{index}]");
        let fields = item.as_object().ok_or_else(|| Fault::new(&path, "must be an object"))?;
        let Some(id) = fields.get(key) else {
            return Err(Fault::new(&format!("{path}.{key}"), "is missing: items of this list merge by it"));
        };
        let found = merged.iter().position(|known| known.get(key) == Some(id));
        match directive(&path, fields)? {
            Directive::Delete => merged.retain(|known| known.get(key) != Some(id)),
            Directive::Replace => {
                let message = "replace stands alone in an item: it replaces the list by the other items";
                return Err(Fault::new(&format!("{path}.{DIRECTIVE}"), message));
            }
            Directive::Merge => {
                let base = found.map(|found| merged[found].take());
                let item = objects(&path, base, fields)?.unwrap_or_default();
                match found {
                    Some(found) => merged[found] = item,
                    None => merged.push(item),
                }
            }
        }
    }
    Ok(merged)
}

fn is_replacement(item: &Value) -> bool {
    item.as_object().is_some_and(|item| item.len() == 1 && item.get(DIRECTIVE) == Some(&"replace".into()))
}

/// A list that is not merged has nothing that a directive could speak of.
fn replaced(path: &str, items: &[Value]) -> Result<Vec<Value>, Fault> {
    let mut list = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let path = format!("{path}[{index}]");
        if item.get(DIRECTIVE).is_some() {
            let message = "has no meaning here: the whole list is replaced";
            return Err(Fault::new(&format!("{path}.{DIRECTIVE}"), message));
        }
        list.extend(value(&path, "", None, item)?);
    }
    Ok(list)
}

fn directive(path: &str, patch: &Map<String, Value>) -> Result<Directive, Fault> {
    let at = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    if let Some(name) = patch.keys().find(|name| name.starts_with('$') && *name != DIRECTIVE) {
        return Err(Fault::new(&at(name), "is a directive that is not supported; $patch is"));
    }
    match patch.get(DIRECTIVE) {
        None => Ok(Directive::Merge),
        Some(Value::String(text)) if text == "merge" => Ok(Directive::Merge),
        Some(Value::String(text)) if text == "replace" => Ok(Directive::Replace),
        Some(Value::String(text)) if text == "delete" => Ok(Directive::Delete),
        Some(other) => {
            Err(Fault::new(&at(DIRECTIVE), format!("must be replace, delete or merge, and is {other}")))
        }
    }
}
