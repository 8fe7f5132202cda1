//! Whether pods could have an object's models, as far as their template tells: a mistyped id is told before there are any.
//! Pure. How an id is read is the daemon's to say (`load.rs`, and the server's `weights/names.rs`).

use std::path::{Component, Path, PathBuf};

use k8s_openapi::api::core::v1::{Container, PodTemplateSpec};
use ostro_config::{Place, Problem, Problems};
use serde_json::Value;

use super::template::container;
use super::volumes::CONFIG_DIR;

const NOT_HAD: &str = "must be an id of the hub, such as OWNER/NAME, or an absolute path: \
                       a relative one begins at /etc/ostro, where no volume has it";

pub(super) fn check(models: &[Value], template: &PodTemplateSpec) -> Result<(), Problems> {
    let Some(container) = container(template) else { return Ok(()) };
    let ids = models.iter().map(|model| model["modelId"].as_str().unwrap_or_default());
    let lost = ids.enumerate().filter(|(_, id)| !may_be_had(id, container));
    let problems = lost.map(|(index, _)| Problem {
        place: Place::Default,
        key: format!("spec.models[{index}].modelId"),
        value: None,
        message: NOT_HAD.to_owned(),
    });
    let problems: Vec<Problem> = problems.collect();
    if problems.is_empty() { Ok(()) } else { Err(Problems(problems)) }
}

/// As the daemon tells a path from a hub's id.
pub(crate) fn looks_like_path(model: &str) -> bool {
    let is_file = Path::new(model).extension().is_some_and(|end| end.eq_ignore_ascii_case("gguf"));
    let is_folder = model.starts_with(['.', '~']) || model.ends_with('/') || model.matches('/').count() > 1;
    is_file || is_folder || model.contains('\\')
}

/// Of the hub, or where a volume or the image may have something. Paths are meant from the configuration's folder; what is
/// no path, from the container's own too.
fn may_be_had(id: &str, container: &Container) -> bool {
    let from_config = resolved(CONFIG_DIR, id);
    if Path::new(id).is_absolute() || !from_config.starts_with(CONFIG_DIR) {
        return true;
    }
    if has_mount(container, &from_config) {
        return true;
    }
    let own = container.working_dir.as_deref().unwrap_or("/");
    !looks_like_path(id) && (is_of_hub(id) || has_mount(container, &resolved(own, id)))
}

/// `NAME` or `OWNER/NAME`, in the hub's alphabet.
fn is_of_hub(id: &str) -> bool {
    let is_name = |name: &str| {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        let is_hidden = name.starts_with('.') || name.contains("..");
        (1..=96).contains(&name.len()) && name.chars().all(is_plain) && !is_hidden
    };
    id.matches('/').count() <= 1 && id.split('/').all(is_name)
}

/// There, around it or below it, beside the configuration.
fn has_mount(container: &Container, path: &Path) -> bool {
    let mounts = container.volume_mounts.iter().flatten().map(|mount| Path::new(&mount.mount_path));
    let mut others = mounts.filter(|mount| *mount != Path::new(CONFIG_DIR));
    others.any(|mount| path.starts_with(mount) || mount.starts_with(path))
}

/// Without `.` and `..`.
fn resolved(folder: &str, id: &str) -> PathBuf {
    let mut path = PathBuf::from(folder);
    for part in Path::new(id).components() {
        match part {
            Component::Normal(name) => path.push(name),
            Component::ParentDir => {
                path.pop();
            }
            _ => {}
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::inference_deployment::build::CONTAINER;

    fn problems(id: &str, mount: &str) -> String {
        let mounts = [CONFIG_DIR, mount].map(|path| json!({ "name": "v", "mountPath": path }));
        let template = json!({ "spec": { "containers": [{ "name": CONTAINER, "volumeMounts": mounts }] } });
        let checked = check(&[json!({ "modelId": id })], &serde_json::from_value(template).unwrap());
        checked.err().map(|problems| problems.to_string()).unwrap_or_default()
    }

    #[test]
    fn what_pods_may_have_is_taken() {
        for (id, mount) in [
            ("gpt2", "/v"),
            ("Qwen/Qwen2.5-0.5B", "/v"),
            ("/models/a.gguf", "/v"),
            ("/models/a ", "/v"),
            // As the daemon would find them.
            ("../../models/a.gguf", "/models"),
            ("./models/a.gguf", "/etc/ostro/models"),
            ("models/a/b", "/etc/ostro/models"),
            ("./a", "/etc/ostro/a/config.json"),
            ("my models/a", "/my models"),
        ] {
            assert_eq!(problems(id, mount), "", "{id} {mount}");
        }
    }

    #[test]
    fn what_no_pod_could_have_is_refused() {
        let long = "a".repeat(97);
        for id in
            ["./a", "a.gguf", "a/b/c", "~/a", "a/", "a\\b", "a b", "a@main", "a:b", "a/.b", "a..b", &long]
        {
            let told = problems(id, "/models");
            assert!(told.starts_with("spec.models[0].modelId must be an id of the hub"), "{id}: {told}");
        }
    }
}
