//! The daemon's tables as structural schemas: the JSON schema of `ostro_config`'s types, keys in camel case, bounded,
//! without defaults, which the API server would store.

use ostro_config::json_schema::{choices, type_of, without_null};
use ostro_config::{
    GlobalConfig, ModelConfig, PagedAttnConfig, RuntimeConfig, SandboxConfig, ServerConfig, to_camel,
};
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

/// CEL estimates the cost of a rule by what a list or text could hold.
pub(crate) const MODELS_MAX: u64 = 16;
const ITEMS_MAX: u64 = 16;
const TEXT_MAX: u64 = 4096;
/// Whole numbers up to this are exact as floats.
const EXACT_MAX: u64 = 1 << 53;
const ALIAS_MAX: u64 = 256;

pub(crate) fn models(_: &mut SchemaGenerator) -> Schema {
    let description = "The models that every pod loads, at least one.";
    as_schema(json!({
        "type": "array",
        "description": description,
        "items": table::<ModelConfig>(),
        "maxItems": MODELS_MAX,
        "x-kubernetes-list-type": "atomic",
    }))
}

pub(crate) fn default_model_id(_: &mut SchemaGenerator) -> Schema {
    let description = "The `modelId` that answers requests naming no model, or `default`.";
    as_schema(json!({ "type": "string", "description": description, "minLength": 1, "maxLength": TEXT_MAX }))
}

pub(crate) fn paged_attn(_: &mut SchemaGenerator) -> Schema {
    as_schema(table::<PagedAttnConfig>())
}

pub(crate) fn sandbox(_: &mut SchemaGenerator) -> Schema {
    as_schema(table::<SandboxConfig>())
}

pub(crate) fn server(_: &mut SchemaGenerator) -> Schema {
    as_schema(table::<ServerConfig>())
}

pub(crate) fn runtime(_: &mut SchemaGenerator) -> Schema {
    as_schema(table::<RuntimeConfig>())
}

pub(crate) fn global(_: &mut SchemaGenerator) -> Schema {
    as_schema(table::<GlobalConfig>())
}

/// Kubernetes' own volumes with a place to mount them.
pub(crate) fn volumes(generator: &mut SchemaGenerator) -> Schema {
    let mut volume = generator.subschema_for::<k8s_openapi::api::core::v1::Volume>().to_value();
    volume["properties"]["mountPath"] = json!({ "type": "string", "description": "Where the daemon sees it.", "pattern": "^/", "maxLength": 1024 });
    volume["properties"]["readOnly"] = json!({ "type": "boolean" });
    volume["properties"]["name"]["maxLength"] = json!(63);
    volume["required"] = json!(["name", "mountPath"]);
    let description = "More volumes of the pods, such as one that holds model files.";
    as_schema(json!({ "type": "array", "description": description, "items": volume, "maxItems": ITEMS_MAX }))
}

/// Open: the operator checks what comes out.
pub(crate) fn pod_template_patch(_: &mut SchemaGenerator) -> Schema {
    as_schema(json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true }))
}

/// Of a type of Kubernetes.
pub(crate) fn field_names<T: JsonSchema>() -> Vec<String> {
    let schema = SchemaSettings::default().into_generator().into_root_schema_for::<T>().to_value();
    schema["properties"].as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect()
}

fn as_schema(value: Value) -> Schema {
    Schema::try_from(value).expect("an object is a schema")
}

fn table<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::default().with(|settings| settings.inline_subschemas = true);
    structural(&settings.into_generator().into_root_schema_for::<T>().to_value())
}

fn structural(schema: &Value) -> Value {
    let (value, _) = without_null(schema);
    let mut out = Map::new();
    if let Some(description) = description(schema) {
        out.insert("description".to_owned(), description.into());
    }
    // A unit enum with documented variants has its type in each of them.
    let kind = Some(type_of(value)).filter(|kind| !kind.is_empty()).unwrap_or("string");
    out.insert("type".to_owned(), kind.into());
    match kind {
        "object" => object(value, &mut out),
        "array" => {
            out.insert("items".to_owned(), structural(&value["items"]));
            out.insert("maxItems".to_owned(), ITEMS_MAX.into());
        }
        "string" => text(value, &mut out),
        "integer" => {
            copy(value, &mut out, &["minimum", "maximum", "enum", "format"]);
            // The API server reads bounds as floats, and refuses every number beside one that is none.
            if out.get("maximum").and_then(Value::as_u64).is_some_and(|maximum| maximum > EXACT_MAX) {
                out.remove("maximum");
            }
        }
        "number" => number(value, &mut out),
        _ => {}
    }
    Value::Object(out)
}

fn object(schema: &Value, out: &mut Map<String, Value>) {
    let properties = schema["properties"].as_object().into_iter().flatten();
    let mut properties: Map<String, Value> =
        properties.map(|(name, schema)| (to_camel(name), structural(schema))).collect();
    // `validate()` has this bound as a rule. Names of adapters are compared with each other.
    if let Some(alias) = properties.get_mut("alias") {
        alias["maxLength"] = ALIAS_MAX.into();
    }
    out.insert("properties".to_owned(), properties.into());
    if let Some(required) = schema.get("required").and_then(Value::as_array) {
        let names = required.iter().filter_map(Value::as_str).map(to_camel).map(Value::from);
        out.insert("required".to_owned(), names.collect());
    }
}

fn text(schema: &Value, out: &mut Map<String, Value>) {
    let choices = choices(schema);
    if !choices.is_empty() {
        out.insert("enum".to_owned(), choices.into());
        return;
    }
    out.insert("maxLength".to_owned(), TEXT_MAX.into());
    copy(schema, out, &["minLength", "maxLength", "pattern"]);
}

/// In OpenAPI 3.0 `exclusiveMinimum` is a switch.
fn number(schema: &Value, out: &mut Map<String, Value>) {
    copy(schema, out, &["minimum", "maximum"]);
    if let Some(minimum) = schema.get("exclusiveMinimum") {
        out.insert("minimum".to_owned(), minimum.clone());
        out.insert("exclusiveMinimum".to_owned(), true.into());
    }
}

fn copy(from: &Value, out: &mut Map<String, Value>, names: &[&str]) {
    for name in names {
        if let Some(value) = from.get(*name) {
            out.insert((*name).to_owned(), value.clone());
        }
    }
}

/// The key's documentation, with what its absence means.
fn description(schema: &Value) -> Option<String> {
    let text = schema.get("description")?.as_str()?.split_whitespace().collect::<Vec<_>>().join(" ");
    let absent = schema.get("x-default").and_then(Value::as_str).map(str::to_owned);
    let absent = absent.or_else(|| match schema.get("default")? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(value) => Some(value.to_string()),
        _ => None,
    });
    Some(match absent {
        Some(absent) => format!("{text} Default: {absent}."),
        None => text,
    })
}
