//! Whether an object of the API is as one that is wanted, and what an apply would make of it. Pure.

use kube::ResourceExt;
use kube::api::DynamicObject;
use ostro_crds::thousandths;
use serde_json::{Map, Value};

use super::build::HASH_ANNOTATION;
use super::claim_size::as_large;

/// The operator's own fields are as it wrote them last, and it would write the same again.
pub(crate) fn is_unchanged(wanted: &DynamicObject, live: &DynamicObject) -> bool {
    first_difference(wanted, live).is_none()
}

/// The path of a field that is not as it is wanted.
pub(crate) fn first_difference(wanted: &DynamicObject, live: &DynamicObject) -> Option<String> {
    let metadata = |object: &DynamicObject| serde_json::to_value(&object.metadata).unwrap_or_default();
    let how = How { lists: Lists::Named, texts: Texts::Plain };
    let wanted = &*as_large(wanted, live);
    let path = difference(&live.data, &wanted.data, how).or_else(|| {
        let path = difference(&metadata(live), &metadata(wanted), how);
        path.map(|path| format!(".metadata{path}"))
    });
    // A field that is wanted no more is no difference of fields.
    let hash = |object: &DynamicObject| object.annotations().get(HASH_ANNOTATION).cloned();
    let path = path.or_else(|| {
        (hash(wanted) != hash(live)).then(|| format!(".metadata.annotations[{HASH_ANNOTATION}]"))
    });
    path.map(|path| path.trim_start_matches('.').to_owned())
}

/// Every field of `part` is in `whole`, which may have more: the API server's defaults.
pub(crate) fn contains(whole: &Value, part: &Value) -> bool {
    difference(whole, part, How { lists: Lists::Whole, texts: Texts::Plain }).is_none()
}

/// How values are compared.
#[derive(Clone, Copy)]
struct How {
    lists: Lists,
    texts: Texts,
}

#[derive(Clone, Copy)]
enum Lists {
    /// Item by item.
    Whole,
    /// As an apply makes them: it keeps what others have added to a list of named items.
    Named,
}

/// What texts are, which their fields' names say.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) enum Texts {
    #[default]
    Plain,
    /// Whatever they are written like.
    Amounts,
    /// Of keys that people and drivers choose, whatever these are.
    Free,
}

impl Texts {
    /// Within a field.
    pub(crate) fn of_field(self, name: &str) -> Texts {
        match self {
            Texts::Plain if FREE.contains(&name) => Texts::Free,
            Texts::Plain if AMOUNTS.contains(&name) => Texts::Amounts,
            texts => texts,
        }
    }

    pub(crate) fn are_same(self, one: &str, other: &str) -> bool {
        let is_same_amount = || thousandths(one).is_some_and(|one| Some(one) == thousandths(other));
        one == other || (self == Texts::Amounts && is_same_amount())
    }
}

/// Whose fields, or who themselves, are amounts.
const AMOUNTS: [&str; 6] = ["divisor", "limits", "overhead", "requests", "sizeLimit", "storage"];
/// Within which a name says nothing.
const FREE: [&str; 6] =
    ["annotations", "labels", "matchLabels", "nodeSelector", "options", "volumeAttributes"];
/// Of these no more fields may be there: who adds one changes what is selected.
const SELECTORS: [&str; 4] = ["matchLabels", "nodeSelector", "podSelector", "selector"];

/// Where `part` is not in `whole`.
fn difference(whole: &Value, part: &Value, how: How) -> Option<String> {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => {
            part.iter().find_map(|(name, part)| difference_of_field(whole, (name, part), how))
        }
        (Value::Array(whole), Value::Array(part)) => difference_of_lists(whole, part, how),
        (Value::String(whole), Value::String(part)) if how.texts.are_same(whole, part) => None,
        (Value::Null, part) if is_left_out("", part) => None,
        (whole, part) => (whole != part).then(String::new),
    }
}

fn difference_of_field(whole: &Map<String, Value>, (name, part): (&str, &Value), how: How) -> Option<String> {
    let texts = how.texts.of_field(name);
    let inner = match whole.get(name) {
        Some(_) if is_replaced(name, part) => return None,
        Some(whole) => match difference(whole, part, How { texts, ..how }) {
            None if SELECTORS.contains(&name) => added(whole, part)?,
            inner => inner?,
        },
        None if is_left_out(name, part) => return None,
        None => String::new(),
    };
    Some(format!(".{name}{inner}"))
}

fn added(whole: &Value, part: &Value) -> Option<String> {
    let name = whole.as_object()?.keys().find(|name| part.get(name).is_none())?;
    Some(format!(".{name}"))
}

fn difference_of_lists(whole: &[Value], part: &[Value], how: How) -> Option<String> {
    if whole.len() == part.len() {
        let mut pairs = whole.iter().zip(part).enumerate();
        return pairs
            .find_map(|(index, (whole, part))| Some(format!("[{index}]{}", difference(whole, part, how)?)));
    }
    let has_names = part.iter().all(|item| name_of(item).is_some());
    if part.is_empty() || !has_names || matches!(how.lists, Lists::Whole) {
        return Some(String::new());
    }
    // A name may be there twice, as a volume's in the mounts of it.
    let is_in = |part: &Value| {
        whole.iter().any(|whole| name_of(whole) == name_of(part) && difference(whole, part, how).is_none())
    };
    let lost = part.iter().find(|part| !is_in(part)).and_then(name_of);
    lost.map(|name| format!("[{name}]"))
}

fn name_of(item: &Value) -> Option<&str> {
    item.get("name")?.as_str()
}

/// Fields that are no pointers in Kubernetes' own types: the API server does not tell `false` from nothing.
const PLAIN_BOOLEANS: [&str; 10] = [
    "chapAuthDiscovery",
    "chapAuthSession",
    "hostIPC",
    "hostNetwork",
    "hostPID",
    "readOnly",
    "sslEnabled",
    "stdin",
    "stdinOnce",
    "tty",
];

/// Where 0 is no value, and the API server puts its default.
const DEFAULTED_ZEROS: [&str; 4] =
    ["failureThreshold", "periodSeconds", "successThreshold", "timeoutSeconds"];
/// Where an empty text is none.
const DEFAULTED_TEXTS: [&str; 15] = [
    "apiVersion",
    "dnsPolicy",
    "imagePullPolicy",
    "iscsiInterface",
    "keyring",
    "path",
    "pool",
    "protocol",
    "restartPolicy",
    "scheme",
    "schedulerName",
    "storageMode",
    "terminationMessagePath",
    "terminationMessagePolicy",
    "user",
];

/// By the API server's default.
fn is_replaced(name: &str, value: &Value) -> bool {
    match value {
        Value::Number(number) => number.as_f64() == Some(0.0) && DEFAULTED_ZEROS.contains(&name),
        Value::String(text) => text.is_empty() && DEFAULTED_TEXTS.contains(&name),
        _ => false,
    }
}

/// What the API server does not show, though it was applied.
fn is_left_out(name: &str, value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(is_set) => !is_set && PLAIN_BOOLEANS.contains(&name),
        // No class is not the cluster's default one.
        Value::String(text) => text.is_empty() && name != "storageClassName",
        Value::Object(fields) => fields.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Number(number) => number.as_f64() == Some(0.0),
    }
}

/// `live` with the fields of `wanted` in it: what an apply makes of it, removed fields aside.
pub(crate) fn overlay(live: &Value, wanted: &Value) -> Value {
    overlay_texts(live, wanted, Texts::Plain)
}

fn overlay_texts(live: &Value, wanted: &Value, texts: Texts) -> Value {
    match (live, wanted) {
        (live, wanted) if difference(live, wanted, How { lists: Lists::Whole, texts }).is_none() => {
            live.clone()
        }
        (Value::Object(fields), Value::Object(wanted)) => {
            let mut fields = fields.clone();
            for (name, wanted) in wanted {
                let over = |live: &Value| overlay_texts(live, wanted, texts.of_field(name));
                let after = fields.get(name).map_or_else(|| wanted.clone(), over);
                fields.insert(name.clone(), after);
            }
            fields.into()
        }
        (Value::Array(items), Value::Array(wanted)) if items.len() == wanted.len() => {
            items.iter().zip(wanted).map(|(live, wanted)| overlay_texts(live, wanted, texts)).collect()
        }
        (_, wanted) => wanted.clone(),
    }
}

#[cfg(test)]
mod tests;
