//! A Deployment or StatefulSet that no readable revision tells of, such as one from before there were any: its pods must
//! go on, so what they run is what is kept. The fields that the operator applied are found by the API server's own
//! account of them.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kube::api::DynamicObject;
use serde_json::{Map, Value};

use crate::inference_deployment::apply::MANAGER;
use crate::inference_deployment::build::{Rendering, image};
use crate::inference_deployment::comparison::contains;

/// `live` with its managed fields, and the configuration beside it. Exactly `rendered` where applying that would leave
/// the pods alone.
pub(crate) fn adopt(live: &DynamicObject, config: Option<&str>, rendered: &Rendering) -> Rendering {
    let template = &live.data["spec"]["template"];
    let config = config.unwrap_or(&rendered.config);
    let own = own_fields(live);
    let cache_claim = cache_claim(live, rendered);
    let is_same = own.is_some_and(|own| {
        config == rendered.config
            && cache_claim == rendered.cache_claim
            && contains(template, &rendered.template)
            && covers(&rendered.template, own)
    });
    if is_same {
        return rendered.clone();
    }
    // Where somebody took fields over, applying all that is there leaves everything as it is.
    let own = own.and_then(|own| project(template, own)).filter(|own| is_whole(own, &rendered.template));
    let template = own.unwrap_or_else(|| template.clone());
    Rendering { renderer: None, template, config: config.to_owned(), cache_claim }
}

/// Of a StatefulSet: as rendered where that is what it has, but for defaults of the API server.
fn cache_claim(live: &DynamicObject, rendered: &Rendering) -> Option<Value> {
    let live = live.data["spec"].pointer("/volumeClaimTemplates/0")?;
    let rendered = rendered.cache_claim.as_ref().filter(|rendered| contains(live, rendered));
    Some(rendered.unwrap_or(live).clone())
}

/// Enough to make pods that are found by their labels.
fn is_whole(own: &Value, rendered: &Value) -> bool {
    let pod = serde_json::from_value(own.clone()).ok();
    let has_image = pod.is_some_and(|pod| image(&pod).is_some());
    has_image && contains(&own["metadata"]["labels"], &rendered["metadata"]["labels"])
}

/// Of the template, as `FieldsV1` has them.
fn own_fields(live: &DynamicObject) -> Option<&Map<String, Value>> {
    let is_ours = |entry: &&ManagedFieldsEntry| {
        entry.manager.as_deref() == Some(MANAGER)
            && entry.operation.as_deref() == Some("Apply")
            && entry.subresource.as_deref().unwrap_or_default().is_empty()
    };
    let entry = live.metadata.managed_fields.as_ref()?.iter().find(is_ours)?;
    entry.fields_v1.as_ref()?.0.get("f:spec")?.get("f:template")?.as_object()
}

/// The part of a value that is owned; a field without more below it is owned as a whole.
fn project(value: &Value, fields: &Map<String, Value>) -> Option<Value> {
    let children: Vec<_> = fields.iter().filter(|(name, _)| *name != ".").collect();
    if children.is_empty() {
        return Some(value.clone());
    }
    let below = |value: &Value, fields: &Value| project(value, fields.as_object()?);
    match value {
        Value::Object(object) => {
            let named = children.iter().filter_map(|(name, fields)| {
                let name = name.strip_prefix("f:")?;
                Some((name.to_owned(), below(object.get(name)?, fields)?))
            });
            Some(Value::Object(named.collect()))
        }
        Value::Array(items) => {
            let owned = items.iter().filter_map(|item| {
                let (_, fields) = children.iter().find(|(name, _)| is_item(item, name))?;
                below(item, fields)
            });
            Some(Value::Array(owned.collect()))
        }
        _ => Some(value.clone()),
    }
}

/// Every owned field is in `value`: applying it takes nothing away.
fn covers(value: &Value, fields: &Map<String, Value>) -> bool {
    fields.iter().filter(|(name, _)| *name != ".").all(|(name, fields)| {
        let child = match (name.strip_prefix("f:"), value) {
            (Some(name), value) => value.get(name),
            (None, Value::Array(items)) => items.iter().find(|item| is_item(item, name)),
            (None, _) => None,
        };
        child.is_some_and(|child| fields.as_object().is_none_or(|fields| covers(child, fields)))
    })
}

/// `k:{"name":"x"}` names an item by its keys, `v:"x"` a plain one by its value.
fn is_item(item: &Value, name: &str) -> bool {
    let parsed = |text: &str| ostro_json::from_slice::<Value>(text.as_bytes()).unwrap_or_default();
    match (name.strip_prefix("k:"), name.strip_prefix("v:")) {
        (Some(keys), _) => parsed(keys)
            .as_object()
            .is_some_and(|keys| keys.iter().all(|(key, value)| item.get(key) == Some(value))),
        (None, Some(value)) => *item == parsed(value),
        (None, None) => false,
    }
}

#[cfg(test)]
mod tests;
