//! Whether a spec asks for a GPU that models can run on, by the names of Kubernetes' resources.

use serde_json::Value as Json;

use super::node::{Node, Tree};

/// `nvidia.com/gpu`, as it is called where it is shared (`nvidia.com/gpu.shared`), and MIG's `nvidia.com/mig-1g.10gb`.
/// Not what else NVIDIA's plugins give, such as network adapters.
pub fn is_nvidia_gpu(resource: &str) -> bool {
    let name = resource.strip_prefix("nvidia.com/");
    name.is_some_and(|name| name == "gpu" || name.starts_with("gpu.") || name.starts_with("mig-"))
}

pub(super) fn is_asked_for(spec: &Node) -> bool {
    let Some(resources) = spec.field("resources") else { return false };
    let lists = ["limits", "requests"].into_iter().filter_map(|list| resources.field(list));
    lists.filter_map(amounts).flatten().any(|(name, amount)| is_nvidia_gpu(name) && !is_zero(amount))
}

fn amounts(list: &Node) -> Option<&[(String, Node)]> {
    match &list.tree {
        Tree::Map(amounts) => Some(amounts),
        _ => None,
    }
}

fn is_zero(amount: &Node) -> bool {
    [Json::Null, 0.into(), "0".into()].contains(&amount.to_json())
}
