//! The CustomResourceDefinition: what `ostro-operator crd` prints, the chart ships and tests load.

use kube::CustomResourceExt;
use serde_json::{Value, json};

use crate::InferenceDeployment;
use crate::bounds::tighten;
use crate::rules::rules;

/// `kubectl apply` keeps the object in an annotation of at most this size.
pub const CRD_BYTES_MAX: usize = 256 << 10;

/// Where Kubernetes' own types begin, whose documentation is left out for size.
const KUBERNETES_TYPES: [&str; 11] = [
    "affinity",
    "resources",
    "tolerations",
    "topologySpreadConstraints",
    "volumes",
    "env",
    "imagePullSecrets",
    "secretKeyRef",
    "hostPath",
    "existingClaim",
    "conditions",
];

/// Unless said, as a Deployment has them.
const REPLICAS: i32 = 1;

/// With the rules, and without Kubernetes' documentation.
pub fn crd_json() -> Value {
    let mut crd = serde_json::to_value(InferenceDeployment::crd()).expect("a CRD is JSON");
    let schema = &mut crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    tighten(schema);
    let spec = &mut schema["properties"]["spec"];
    spec["x-kubernetes-validations"] =
        rules().into_iter().map(|rule| json!({ "rule": rule.rule, "message": rule.message })).collect();
    strip(schema);
    // Without a number the API server has no /scale to read, and no autoscaler begins.
    schema["properties"]["spec"]["properties"]["replicas"]["default"] = REPLICAS.into();
    // Taking the API away would take everyone's objects.
    crd["metadata"]["annotations"] = json!({ "helm.sh/resource-policy": "keep" });
    crd
}

/// Also defaults, which the API server would store for good.
fn strip(schema: &mut Value) {
    if let Some(schema) = schema.as_object_mut() {
        schema.remove("default");
    }
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        for (name, property) in properties {
            if KUBERNETES_TYPES.contains(&name.as_str()) {
                strip_descriptions(property);
            } else {
                strip(property);
            }
        }
    }
    if let Some(items) = schema.get_mut("items") {
        strip(items);
    }
}

/// The field's own stays.
fn strip_descriptions(field: &mut Value) {
    let own = field.as_object_mut().and_then(|field| field.remove("description"));
    remove_descriptions(field);
    if let (Some(field), Some(own)) = (field.as_object_mut(), own) {
        field.insert("description".to_owned(), own);
    }
}

fn remove_descriptions(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            // A property may have that name too.
            if fields.get("description").is_some_and(Value::is_string) {
                fields.remove("description");
            }
            fields.values_mut().for_each(remove_descriptions);
        }
        Value::Array(items) => items.iter_mut().for_each(remove_descriptions),
        _ => {}
    }
}
