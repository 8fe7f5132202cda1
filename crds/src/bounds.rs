//! What Kubernetes refuses of its own fields by themselves, as keywords of the schema: told when an object is applied,
//! not when its pods fail to come. What is between fields is in `rules`.

use serde_json::{Value, json};

use crate::cluster::DURATION;
use crate::messages::NOT_A_DURATION;

/// Of an int-or-string: more is for the API server no error, and for nobody a number of pods.
const PODS_MAX: i32 = i32::MAX;
const PODS_OR_SHARE: &str = "^(100|[1-9]?[0-9])%$";
const PODS_OR_ANY_SHARE: &str = "^(0|[1-9][0-9]{0,3})%$";
/// Not below 0.
const QUANTITY: &str = r"^\+?([0-9]+(\.[0-9]*)?|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][-+]?[0-9]{1,3})?$";
pub(crate) const LABEL: &str = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$";
const SUBDOMAIN: &str = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";
/// An empty class is for volumes made by hand.
const CLASS: &str = r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*)?$";
const DRIVER: &str = "^[A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?$";
const PULL_POLICIES: [&str; 3] = ["Always", "IfNotPresent", "Never"];
const PATH_TYPES: [&str; 8] =
    ["", "DirectoryOrCreate", "Directory", "FileOrCreate", "File", "Socket", "CharDevice", "BlockDevice"];
pub(crate) const LABEL_VALUE: &str = "^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$";
/// Of a Service, a label value and a Deployment at once.
const OBJECT_NAME: &str = "^[a-z]([-a-z0-9]*[a-z0-9])?$";
const FILE_KEY: &str = "^[-._a-zA-Z0-9]+$";
const VARIABLE: &str = "^[!-<>-~][ -<>-~]*$";
/// A registry and a tag may have capitals. What is between must not, or kubelets take it for no name
/// (github.com/distribution/reference).
const IMAGE: &str = r"^([!-.0-~]+/)?[!-9;-?\[-~]+([:@][!-.0-~]+)?$";
/// Of names that are neither `.` nor `..`.
const MOUNT_PATH: &str = r"^(/([^/:.\x00-\x1f]|\.[^/:.\x00-\x1f]|\.\.[^/:\x00-\x1f])[^/:\x00-\x1f]*)+$";
/// What a variable's value cannot have.
const NO_NUL: &str = r"^[^\x00]*$";
const ABSOLUTE: &str = "^/";
/// As the daemon has it.
const HOST: &str = "^[-A-Za-z0-9._:%]+$";
const EFFECTS: [&str; 4] = ["", "NoSchedule", "PreferNoSchedule", "NoExecute"];
/// The last two of Kubernetes 1.35 and later.
const TOLERATES: [&str; 5] = ["", "Equal", "Exists", "Lt", "Gt"];
const LENGTH_MAX: u64 = 64;
/// Terminals act on control characters, wherever the text is shown.
const PRINTABLE: &str = r"^[^\x00-\x1f\x7f-\x9f]*$";

/// Each pattern in words, for those who check a file without a cluster.
pub(crate) const IN_WORDS: [(&str, &str); 18] = [
    (PODS_OR_SHARE, "must be a number of pods, or a share of them from 0% to 100%"),
    (PODS_OR_ANY_SHARE, "must be a number of pods, or a share of them such as 25%"),
    (QUANTITY, "must be an amount such as 500m, 2 or 20Gi, and not below 0"),
    (LABEL, "must have small letters, digits and inner hyphens only"),
    (SUBDOMAIN, "must have small letters, digits, inner hyphens and dots only"),
    (CLASS, "must be the name of a StorageClass, or empty"),
    (DRIVER, "must have letters, digits and inner - and . only"),
    (LABEL_VALUE, "must have letters, digits and inner -, _ and . only"),
    (OBJECT_NAME, "must have small letters, digits and inner hyphens only, and begin with a letter"),
    (FILE_KEY, "must have letters, digits, -, _ and . only"),
    (VARIABLE, "must have printable ASCII characters other than = only"),
    (IMAGE, "must be an image's name without blanks, and between registry and tag without capitals"),
    (
        MOUNT_PATH,
        "must be an absolute path below /, without :, //, /./, /../, control characters and a / at its end",
    ),
    (NO_NUL, "must not have NUL characters"),
    (ABSOLUTE, "must be an absolute path"),
    (HOST, "must be a host name or IP address"),
    (PRINTABLE, "must not have control characters"),
    (DURATION, NOT_A_DURATION),
];

/// Adds the bounds to the CRD's schema of an object.
pub(crate) fn tighten(schema: &mut Value) {
    let name = json!({ "type": "string", "maxLength": 63, "pattern": OBJECT_NAME });
    schema["properties"]["metadata"] = json!({ "type": "object", "properties": { "name": name } });
    let spec = &mut schema["properties"]["spec"];
    for (path, keywords) in bounds().into_iter().chain(volume_bounds()) {
        let field = at(spec, path);
        for (keyword, value) in keywords.as_object().into_iter().flatten() {
            field[keyword] = value.clone();
        }
    }
    // Of the dynamic resource allocation; who wants it gives the pod's claims and the container's by the patch.
    let resources = &mut spec["properties"]["resources"]["properties"];
    resources.as_object_mut().expect("resources have fields").remove("claims");
    bound(schema);
}

/// Lists and maps without a bound of their own.
fn bound(schema: &mut Value) {
    let keyword = match &schema["type"] {
        kind if kind == "array" => Some("maxItems"),
        kind if kind == "object" && schema["additionalProperties"].is_object() => Some("maxProperties"),
        _ => None,
    };
    if let Some(bound) = keyword.filter(|keyword| schema[keyword].is_null()) {
        schema[bound] = LENGTH_MAX.into();
    }
    let Some(fields) = schema.as_object_mut() else { return };
    for name in ["items", "additionalProperties"] {
        if let Some(inner) = fields.get_mut(name).filter(|inner| inner.is_object()) {
            bound(inner);
        }
    }
    if let Some(properties) = fields.get_mut("properties").and_then(Value::as_object_mut) {
        properties.values_mut().for_each(bound);
    }
}

/// A field by its names: `[]` are the items of a list, `{}` the values of a map.
fn at<'a>(schema: &'a mut Value, path: &str) -> &'a mut Value {
    path.split('.').fold(schema, |schema, name| {
        let found = match name {
            "[]" => &mut schema["items"],
            "{}" => &mut schema["additionalProperties"],
            name => &mut schema["properties"][name],
        };
        assert!(found.is_object(), "the schema has no {path}");
        found
    })
}

fn text(pattern: &str, most: u64) -> Value {
    json!({ "pattern": pattern, "minLength": 1, "maxLength": most })
}

fn amount() -> Value {
    json!({ "minimum": 0, "maxLength": 64, "pattern": QUANTITY })
}

fn needs(field: &str) -> Value {
    json!({ "required": [field] })
}

fn volume_bounds() -> Vec<(&'static str, Value)> {
    let (name, mode) = (text(SUBDOMAIN, 253), json!({ "minimum": 0, "maximum": 0o777 }));
    vec![
        ("volumes.[].name", text(LABEL, 63)),
        ("volumes.[].mountPath", text(MOUNT_PATH, 1024)),
        ("volumes.[].hostPath.path", text(ABSOLUTE, 1024)),
        ("volumes.[].hostPath.type", json!({ "enum": PATH_TYPES })),
        ("volumes.[].emptyDir.sizeLimit", amount()),
        ("volumes.[].persistentVolumeClaim.claimName", name.clone()),
        ("volumes.[].csi.driver", text(DRIVER, 63)),
        ("volumes.[].secret", needs("secretName")),
        ("volumes.[].secret.secretName", name.clone()),
        ("volumes.[].secret.defaultMode", mode.clone()),
        ("volumes.[].configMap", needs("name")),
        ("volumes.[].configMap.name", name.clone()),
        ("volumes.[].configMap.defaultMode", mode.clone()),
        ("volumes.[].projected.defaultMode", mode.clone()),
        ("volumes.[].downwardAPI.defaultMode", mode),
        ("volumes.[].image", needs("reference")),
        ("volumes.[].image.reference", text(IMAGE, 1024)),
        ("volumes.[].image.pullPolicy", json!({ "enum": PULL_POLICIES })),
    ]
}

fn bounds() -> Vec<(&'static str, Value)> {
    let pods = |pattern: &str| {
        json!({
            "description": "A number of pods, or a share of them such as `25%`.",
            "minimum": 0, "maximum": PODS_MAX, "maxLength": 5, "pattern": pattern,
        })
    };
    let amount = amount();
    let name = text(SUBDOMAIN, 253);
    let image = text(IMAGE, 1024);
    let map = |most: u64| json!({ "maxProperties": most });
    vec![
        ("rollout.maxSurge", pods(PODS_OR_ANY_SHARE)),
        ("rollout.maxUnavailable", pods(PODS_OR_SHARE)),
        ("disruptionBudget.minAvailable", pods(PODS_OR_SHARE)),
        ("disruptionBudget.maxUnavailable", pods(PODS_OR_SHARE)),
        ("resources.limits", map(16)),
        ("resources.limits.{}", amount.clone()),
        ("resources.requests", map(16)),
        ("resources.requests.{}", amount.clone()),
        ("cache.sizeLimit", amount),
        ("cache.existingClaim.name", name.clone()),
        ("cache.hostPath.path", text(ABSOLUTE, 1024)),
        ("cache.volume.storageClassName", json!({ "maxLength": 253, "pattern": CLASS })),
        ("cache.image", needs("reference")),
        ("cache.image.reference", image.clone()),
        ("cache.image.pullPolicy", json!({ "enum": PULL_POLICIES })),
        ("cache.hostPath.type", json!({ "enum": PATH_TYPES })),
        ("image", image),
        ("imagePullSecrets.[]", needs("name")),
        ("imagePullSecrets.[].name", name.clone()),
        ("serviceAccountName", name.clone()),
        ("priorityClassName", name.clone()),
        ("runtimeClassName", name.clone()),
        ("huggingFaceToken.secretKeyRef.name", name.clone()),
        ("huggingFaceToken.secretKeyRef.key", text(FILE_KEY, 253)),
        ("nodeSelector", map(64)),
        ("nodeSelector.{}", json!({ "maxLength": 63, "pattern": LABEL_VALUE })),
        ("monitoring.labels.{}", json!({ "maxLength": 63, "pattern": LABEL_VALUE })),
        ("service.annotations", map(64)),
        ("env.[].name", text(VARIABLE, 253)),
        ("env.[].value", json!({ "maxLength": 32_768, "pattern": NO_NUL })),
        ("env.[].valueFrom.secretKeyRef.name", name.clone()),
        ("env.[].valueFrom.configMapKeyRef.name", name),
        ("server.host", json!({ "pattern": HOST, "maxLength": 253 })),
        ("tolerations.[].operator", json!({ "enum": TOLERATES })),
        ("tolerations.[].effect", json!({ "enum": EFFECTS })),
        ("topologySpreadConstraints.[].topologyKey", json!({ "minLength": 1, "maxLength": 317 })),
        ("topologySpreadConstraints.[].maxSkew", json!({ "minimum": 1 })),
        ("topologySpreadConstraints.[].minDomains", json!({ "minimum": 1 })),
        (
            "topologySpreadConstraints.[].whenUnsatisfiable",
            json!({ "enum": ["DoNotSchedule", "ScheduleAnyway"] }),
        ),
        ("models.[].modelId", json!({ "pattern": PRINTABLE })),
    ]
}
