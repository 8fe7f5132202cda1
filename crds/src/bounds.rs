//! What Kubernetes refuses of its own fields by themselves, as keywords of the schema: told when an object is applied,
//! not when its pods fail to come. What is between fields is in `rules`.

use serde_json::{Value, json};

use crate::cluster::DURATION;
use crate::validate::cluster_messages::NOT_A_DURATION;

/// Of an int-or-string: more is for the API server no error, and for nobody a number of pods.
const PODS_MAX: i32 = i32::MAX;
const PODS_OR_SHARE: &str = "^(100|[1-9]?[0-9])%$";
const PODS_OR_ANY_SHARE: &str = "^(0|[1-9][0-9]{0,3})%$";
/// Not below 0.
const QUANTITY: &str = r"^\+?([0-9]+(\.[0-9]*)?|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][-+]?[0-9]{1,3})?$";
const LABEL: &str = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$";
const SUBDOMAIN: &str = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";
/// An empty class is for volumes made by hand.
const CLASS: &str = r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*)?$";
const LABEL_VALUE: &str = "^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$";
/// Of a Service, a label value and a Deployment at once.
const OBJECT_NAME: &str = "^[a-z]([-a-z0-9]*[a-z0-9])?$";
const FILE_KEY: &str = "^[-._a-zA-Z0-9]+$";
const VARIABLE: &str = "^[!-<>-~][ -<>-~]*$";
const IMAGE: &str = "^[!-~]+$";
/// Of names that are neither `.` nor `..`.
const MOUNT_PATH: &str = r"^(/([^/:.\x00-\x1f]|\.[^/:.\x00-\x1f]|\.\.[^/:\x00-\x1f])[^/:\x00-\x1f]*)+$";
/// What a variable's value cannot have.
const NO_NUL: &str = r"^[^\x00]*$";
const ABSOLUTE: &str = "^/";
/// As the daemon has it.
const HOST: &str = "^[-A-Za-z0-9._:%]+$";
/// Terminals act on control characters, wherever the text is shown.
const PRINTABLE: &str = r"^[^\x00-\x1f\x7f-\x9f]*$";

/// Each pattern in words, for those who check a file without a cluster.
pub(crate) const IN_WORDS: [(&str, &str); 17] = [
    (PODS_OR_SHARE, "must be a number of pods, or a share of them from 0% to 100%"),
    (PODS_OR_ANY_SHARE, "must be a number of pods, or a share of them such as 25%"),
    (QUANTITY, "must be an amount such as 500m, 2 or 20Gi, and not below 0"),
    (LABEL, "must have small letters, digits and inner hyphens only"),
    (SUBDOMAIN, "must have small letters, digits, inner hyphens and dots only"),
    (CLASS, "must be the name of a StorageClass, or empty"),
    (LABEL_VALUE, "must have letters, digits and inner -, _ and . only"),
    (OBJECT_NAME, "must have small letters, digits and inner hyphens only, and begin with a letter"),
    (FILE_KEY, "must have letters, digits, -, _ and . only"),
    (VARIABLE, "must have printable ASCII characters other than = only"),
    (IMAGE, "must be an image's name, without blanks"),
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
    for (path, keywords) in bounds() {
        let field = at(spec, path);
        for (keyword, value) in keywords.as_object().into_iter().flatten() {
            field[keyword] = value.clone();
        }
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

fn bounds() -> Vec<(&'static str, Value)> {
    let pods = |pattern: &str| {
        json!({
            "description": "A number of pods, or a share of them such as `25%`.",
            "minimum": 0, "maximum": PODS_MAX, "maxLength": 5, "pattern": pattern,
        })
    };
    let amount = json!({ "minimum": 0, "maxLength": 64, "pattern": QUANTITY });
    let text = |pattern: &str, most: u64| json!({ "pattern": pattern, "minLength": 1, "maxLength": most });
    let name = text(SUBDOMAIN, 253);
    let image = text(IMAGE, 1024);
    let pull_policy = json!({ "enum": ["Always", "IfNotPresent", "Never"] });
    let needs = |field: &str| json!({ "required": [field] });
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
        ("cache.image.pullPolicy", pull_policy.clone()),
        ("image", image.clone()),
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
        ("volumes.[].name", text(LABEL, 63)),
        ("volumes.[].mountPath", text(MOUNT_PATH, 1024)),
        ("volumes.[].hostPath.path", text(ABSOLUTE, 1024)),
        ("volumes.[].image", needs("reference")),
        ("volumes.[].image.reference", image),
        ("volumes.[].image.pullPolicy", pull_policy),
        ("env.[].name", text(VARIABLE, 253)),
        ("env.[].value", json!({ "maxLength": 32_768, "pattern": NO_NUL })),
        ("env.[].valueFrom.secretKeyRef.name", name.clone()),
        ("env.[].valueFrom.configMapKeyRef.name", name),
        ("server.host", json!({ "pattern": HOST, "maxLength": 253 })),
        ("topologySpreadConstraints.[].topologyKey", json!({ "maxLength": 317 })),
        (
            "topologySpreadConstraints.[].whenUnsatisfiable",
            json!({ "enum": ["DoNotSchedule", "ScheduleAnyway"] }),
        ),
        ("models.[].modelId", json!({ "pattern": PRINTABLE })),
    ]
}
