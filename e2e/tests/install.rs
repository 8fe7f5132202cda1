//! What comes with the charts: notes, annotations, and `install.yaml`, which is made of them; needs Helm, but no cluster.
#![allow(clippy::unwrap_used)] // the helpers of a test fail like the test

mod support;

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use support::helm::{CHARTS, Helm, NAMESPACE, RELEASE, documents, image, only};

#[test]
fn notes_show_a_manifest_of_the_api() {
    let Some(helm) = Helm::find() else { return };
    for (values, words) in [
        ("namespaced=false", "kubectl apply -f -"),
        ("namespaced=true", "kubectl apply --namespace ostro -f -"),
    ] {
        let install = ["install", RELEASE, "ostro-operator", "--namespace", NAMESPACE, "--dry-run=client"];
        let told = helm.run(&[&install[..], &["--set", values]].concat());
        let start = told.find(words).unwrap_or_else(|| panic!("{told}"));
        // As it is pasted into a shell, where it asks for two things.
        let pasted = format!("kubectl() {{ echo \"--- # $*\"; [ $1 = get ] || cat; }}\n{}", &told[start..]);
        let output = Command::new("sh").args(["-c", &pasted]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        assert!(said.lines().last().is_some_and(|line| line.starts_with("--- # get infd")), "{said}");
        let manifest = documents(&said).remove(0);
        assert_eq!(manifest["kind"], "InferenceDeployment");
        assert!(manifest["spec"]["models"][0]["modelId"].is_string(), "{manifest}");
    }
}

#[test]
fn the_api_stays_when_its_chart_goes() {
    let Some(helm) = Helm::find() else { return };
    let objects = helm.render_crds();
    let crd = only(&objects, "CustomResourceDefinition");
    assert_eq!(crd["metadata"]["annotations"]["helm.sh/resource-policy"], "keep");
    assert_eq!(objects.len(), 1);
}

fn chart(name: &str) -> Value {
    let text = std::fs::read_to_string(format!("{CHARTS}/{name}/Chart.yaml")).unwrap();
    serde_saphyr::from_str(&text).unwrap()
}

/// An annotation, which Artifact Hub reads as YAML.
fn annotation(chart: &Value, name: &str) -> Value {
    let text = chart["annotations"][format!("artifacthub.io/{name}")].as_str();
    let text = text.unwrap_or_else(|| panic!("{} has no {name}", chart["name"]));
    serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn artifact_hub_is_told_what_is_so() {
    let example = std::fs::read_to_string(format!("{CHARTS}/../docs/examples/smollm2.yaml")).unwrap();
    let example: Value = serde_saphyr::from_str(&example).unwrap();
    let crd =
        std::fs::read_to_string(format!("{CHARTS}/ostro-crds/templates/inferencedeployments.yaml")).unwrap();
    let crd: Value = serde_saphyr::from_str(&crd).unwrap();
    for name in ["ostro-crds", "ostro-operator"] {
        let chart = chart(name);
        for version in ["version", "appVersion"] {
            assert_eq!(chart[version], env!("CARGO_PKG_VERSION"), "{name}");
        }
        let [told] = annotation(&chart, "crds").as_array().unwrap().clone().try_into().unwrap();
        assert_eq!(told["kind"], crd["spec"]["names"]["kind"]);
        assert_eq!(told["name"], crd["metadata"]["name"]);
        assert_eq!(told["version"], crd["spec"]["versions"][0]["name"]);
        assert_eq!(annotation(&chart, "crdsExamples"), json!([example]));
        assert_eq!(annotation(&chart, "license"), "Apache-2.0");
        assert_eq!(annotation(&chart, "prerelease"), true);
        for change in annotation(&chart, "changes").as_array().unwrap() {
            let kinds = ["added", "changed", "deprecated", "removed", "fixed", "security"];
            assert!(kinds.contains(&change["kind"].as_str().unwrap()), "{change}");
            assert!(change["description"].is_string());
        }
        for link in annotation(&chart, "links").as_array().unwrap() {
            let (_, path) = link["url"].as_str().unwrap().split_once("/blob/main/").unwrap();
            assert!(std::fs::exists(format!("{CHARTS}/../{path}")).unwrap(), "{path}");
        }
    }
    let operator = chart("ostro-operator");
    assert_eq!(annotation(&operator, "operator"), true);
    assert_eq!(annotation(&operator, "operatorCapabilities"), "Basic Install");
    let images = annotation(&operator, "images");
    let images: Vec<&Value> = images.as_array().unwrap().iter().map(|image| &image["image"]).collect();
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(images, [&json!(image("ostro-operator", ":", version)), &json!(image("ostro", ":", version))]);
}

const INSTALL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../install.yaml");
const COMMAND: &str = "OSTRO_UPDATE_DOCS=1 cargo test -p ostro-e2e --test install";

/// Both charts in one file for `kubectl apply`, without what only Helm reads.
fn install(helm: &Helm) -> String {
    let namespace = json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": { "name": NAMESPACE, "labels": { "pod-security.kubernetes.io/enforce": "restricted" } },
    });
    let objects = [vec![namespace], helm.render_crds(), helm.render(&[])].concat();
    let mut text = format!("# Written by `{COMMAND}`; do not edit.\n");
    for mut object in objects {
        for path in ["/metadata/labels", "/metadata/annotations", "/spec/template/metadata/labels"] {
            let Some(Value::Object(fields)) = object.pointer_mut(path) else { continue };
            fields.retain(|name, _| !name.starts_with("helm.sh/") && name != "app.kubernetes.io/managed-by");
            if fields.is_empty() {
                object["metadata"].as_object_mut().unwrap().remove("annotations");
            }
        }
        text.push_str("---\n");
        text.push_str(&serde_saphyr::to_string(&object).unwrap());
    }
    text
}

/// kustomize writes large whole numbers as fractions.
fn with_fractions(value: &mut Value) {
    match value {
        Value::Number(number) => *value = json!(number.as_f64()),
        Value::Array(items) => items.iter_mut().for_each(with_fractions),
        Value::Object(fields) => fields.values_mut().for_each(with_fractions),
        _ => {}
    }
}

/// By name, since kustomize has an order of its own.
fn sorted(text: &str) -> Vec<Value> {
    let mut objects = documents(text);
    objects.iter_mut().for_each(with_fractions);
    objects.sort_by_key(|object| format!("{} {}", object["kind"], object["metadata"]["name"]));
    objects
}

#[test]
fn kustomize_makes_the_same_objects_and_puts_others_images_in() {
    let kubectl = ostro_e2e::cache::root().unwrap().join("cluster/bin/kubectl");
    if !kubectl.is_file() {
        ostro_e2e::skipped::tell("kubectl is not built: run `ostro-e2e cluster build`");
        return;
    }
    let kustomize = |folder: &Path| {
        let output = Command::new(&kubectl).arg("kustomize").arg(folder).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let root = Path::new(INSTALL).parent().unwrap();
    let base = kustomize(root);
    assert_eq!(sorted(&base), sorted(&std::fs::read_to_string(INSTALL).unwrap()));

    // As docs/operations.md has it, beside a copy of the base.
    let page = std::fs::read_to_string(root.join("docs/operations.md")).unwrap();
    let (_, rest) = page.split_once("```yaml\nresources: [ostro]\n").unwrap();
    let overlay = format!("resources: [ostro]\n{}", rest.split_once("```").unwrap().0);
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("ostro");
    std::fs::create_dir(&copy).unwrap();
    for name in ["kustomization.yaml", "install.yaml"] {
        std::fs::copy(root.join(name), copy.join(name)).unwrap();
    }
    std::fs::write(folder.path().join("kustomization.yaml"), overlay).unwrap();
    let objects = documents(&kustomize(folder.path()));
    let operator = &only(&objects, "Deployment")["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(operator["image"], "registry.example.com/ostro-operator:1");
    assert_eq!(operator["env"][0], json!({ "name": "OSTRO_IMAGE", "value": "registry.example.com/ostro:1" }));
}

#[test]
fn the_plain_manifest_is_that_of_the_charts() {
    let Some(helm) = Helm::find() else { return };
    let text = install(&helm);
    if std::env::var_os("OSTRO_UPDATE_DOCS").is_some() {
        std::fs::write(INSTALL, &text).unwrap();
    }
    assert!(std::fs::read_to_string(INSTALL).unwrap() == text, "install.yaml is not current: {COMMAND}");
    let objects = documents(&text);
    let kinds: Vec<&str> = objects.iter().map(|object| object["kind"].as_str().unwrap()).collect();
    // kubectl applies in this order.
    assert_eq!(kinds[..2], ["Namespace", "CustomResourceDefinition"]);
    assert_eq!(kinds.len(), 2 + helm.render(&[]).len());
    assert!(!text.contains("Helm"), "{}", text.lines().find(|line| line.contains("Helm")).unwrap());
}
