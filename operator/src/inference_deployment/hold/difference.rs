//! Where two renderings differ, by paths that a person can find: items of lists by their keys.

use serde_json::{Map, Value};

use crate::inference_deployment::build::{
    CACHE_VOLUME, CONFIG_FILE, CONFIG_VOLUME, Rendering, TEMPLATE_HASH_ANNOTATION, merge_key,
};
use crate::inference_deployment::comparison::{Texts, contains};

pub(crate) fn differences(kept: &Rendering, rendered: &Rendering) -> Vec<String> {
    let mut paths = Vec::new();
    walk(&Place::default(), &kept.template, &rendered.template, &mut paths);
    // Says that something differs, which the others say better.
    paths.retain(|path| *path != format!("metadata.annotations[{TEMPLATE_HASH_ANNOTATION}]"));
    let is_same_claim = match (&kept.cache_claim, &rendered.cache_claim) {
        (Some(kept), Some(rendered)) => is_same(kept, rendered),
        (kept, rendered) => kept.is_some() == rendered.is_some(),
    };
    if !is_same_claim {
        paths.push(format!("volumeClaimTemplates[{CACHE_VOLUME}]"));
    }
    if kept.config != rendered.config {
        // The name by its content says the same again.
        paths.retain(|path| *path != format!("spec.volumes[{CONFIG_VOLUME}].configMap.name"));
        paths.insert(0, CONFIG_FILE.to_owned());
    }
    paths
}

/// Amounts may be written in other ways.
pub(super) fn is_same(one: &Value, other: &Value) -> bool {
    contains(one, other) && contains(other, one)
}

#[derive(Clone, Debug, Default)]
struct Place {
    path: String,
    /// Of the field.
    name: String,
    texts: Texts,
}

impl Place {
    fn field(&self, name: &str) -> Place {
        let is_plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let path = match (self.path.is_empty(), is_plain) {
            (true, _) => name.to_owned(),
            (false, true) => format!("{}.{name}", self.path),
            (false, false) => format!("{}[{name}]", self.path),
        };
        Place { path, name: name.to_owned(), texts: self.texts.of_field(name) }
    }

    fn item(&self, key: &str) -> Place {
        Place { path: format!("{}[{key}]", self.path), name: String::new(), texts: self.texts }
    }
}

fn walk(place: &Place, kept: &Value, rendered: &Value, paths: &mut Vec<String>) {
    match (kept, rendered) {
        (Value::Object(kept), Value::Object(rendered)) => fields(place, (kept, rendered), paths),
        (Value::Array(kept), Value::Array(rendered)) => match merge_key(&place.name) {
            Some(key) => items(place, key, (kept, rendered), paths),
            None if kept.len() == rendered.len() => {
                let mut inner = Vec::new();
                for (kept, rendered) in kept.iter().zip(rendered) {
                    walk(&place.item(""), kept, rendered, &mut inner);
                }
                paths.extend((!inner.is_empty()).then(|| place.path.clone()));
            }
            None => paths.push(place.path.clone()),
        },
        (Value::String(kept), Value::String(rendered)) if place.texts.are_same(kept, rendered) => {}
        (kept, rendered) if kept == rendered => {}
        _ => paths.push(place.path.clone()),
    }
}

fn fields(
    place: &Place,
    (kept, rendered): (&Map<String, Value>, &Map<String, Value>),
    paths: &mut Vec<String>,
) {
    let new = rendered.keys().filter(|name| !kept.contains_key(*name));
    for name in kept.keys().chain(new) {
        let absent = &Value::Null;
        let (kept, rendered) = (kept.get(name).unwrap_or(absent), rendered.get(name).unwrap_or(absent));
        walk(&place.field(name), kept, rendered, paths);
    }
}

fn items(place: &Place, key: &str, (kept, rendered): (&[Value], &[Value]), paths: &mut Vec<String>) {
    let id = |item: &Value| match &item[key] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let (before, after): (Vec<String>, Vec<String>) =
        (kept.iter().map(id).collect(), rendered.iter().map(id).collect());
    let is_paired =
        |ids: &[String]| ids.iter().all(|id| ids.iter().filter(|other| *other == id).count() == 1);
    if !is_paired(&before) || !is_paired(&after) {
        paths.extend((kept != rendered).then(|| place.path.clone()));
        return;
    }
    let removed = before.iter().filter(|id| !after.contains(id));
    paths.extend(removed.map(|id| place.item(id).path));
    for (id, rendered) in after.iter().zip(rendered) {
        match before.iter().position(|other| other == id) {
            Some(index) => walk(&place.item(id), &kept[index], rendered, paths),
            None => paths.push(place.item(id).path),
        }
    }
    // Variables refer to earlier ones, and containers start in order.
    let is_moved =
        before.iter().filter(|id| after.contains(id)).ne(after.iter().filter(|id| before.contains(id)));
    paths.extend(is_moved.then(|| format!("{} (order)", place.path)));
}

#[cfg(test)]
mod tests;
