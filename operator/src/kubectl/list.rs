//! The InferenceDeployments of a namespace or of all, each read by itself: one that this version cannot read hides none
//! of the others.

use anyhow::Result;
use kube::Resource;
use kube::api::ListParams;
use kube::core::Request;
use ostro_crds::InferenceDeployment;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::cluster::Cluster;
use super::explained::explained;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    Namespace,
    Everywhere,
}

/// An object that is there, and of which no more is known.
#[derive(Clone, Debug)]
pub(super) struct Unreadable {
    pub(super) namespace: String,
    pub(super) name: String,
    /// By field.
    pub(super) why: String,
}

pub(super) type Listed = Result<InferenceDeployment, Unreadable>;

/// Its items are skipped, which has no limit of depth.
#[derive(Deserialize)]
struct RawList<'a> {
    #[serde(borrow)]
    items: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct Named {
    metadata: Names,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Names {
    namespace: String,
    name: String,
}

pub(super) async fn list(cluster: &Cluster, scope: Scope) -> Result<Vec<Listed>> {
    let namespace = (scope == Scope::Namespace).then_some(cluster.namespace.as_str());
    let request = Request::new(InferenceDeployment::url_path(&(), namespace)).list(&ListParams::default());
    let request = request.map_err(|error| explained(kube::Error::BuildRequest(error)))?;
    let text = cluster.client.request_text(request).await.map_err(explained)?;
    let list: RawList<'_> =
        serde_json::from_str(&text).map_err(|error| explained(kube::Error::SerdeError(error)))?;
    Ok(list.items.into_iter().map(|item| read(item.get())).collect())
}

pub(super) fn read(text: &str) -> Listed {
    let unreadable = |why: String| {
        let named: Option<Named> = serde_json::from_str(text).ok();
        let Names { namespace, name } = named.map(|named| named.metadata).unwrap_or_default();
        Unreadable { namespace, name, why }
    };
    ostro_json::check_keys(text.as_bytes()).map_err(|error| unreadable(error.to_string()))?;
    let mut json = serde_json::Deserializer::from_str(text);
    serde_path_to_error::deserialize(&mut json).map_err(|error| unreadable(error.to_string()))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::fake_api::{FakeApi, cluster};
    use super::*;

    fn object(name: &str, field: &str, value: &str) -> String {
        let metadata = format!(r#"{{"namespace": "shop", "name": "{name}"}}"#);
        let spec = format!(r#"{{"models": [{{"modelId": "a/b"}}], "{field}": {value}}}"#);
        format!(r#"{{"metadata": {metadata}, "spec": {spec}}}"#)
    }

    #[tokio::test]
    async fn an_object_that_cannot_be_read_hides_no_other() {
        let deep = "{\"a\":".repeat(1000) + "1" + &"}".repeat(1000);
        let objects = [
            object("deep", "podTemplatePatch", &deep),
            object("private", "podTemplatePatch", r#"{"$serde_json::private::RawValue": "1"}"#),
            object("large", "disruptionBudget", r#"{"minAvailable": 99999999999}"#),
            object("m", "replicas", "2"),
        ];
        let text = format!("{{\"items\": [{}]}}", objects.join(","));
        let api = FakeApi::answering(move |_| (200, Value::String(text.clone())));
        let listed = list(&cluster(api.clone()), Scope::Everywhere).await.unwrap();
        assert_eq!(
            api.asked()[0].line.trim_end_matches('?'),
            "GET /apis/inference.ostro.dev/v1alpha1/inferencedeployments"
        );
        let [Err(deep), Err(private), Err(large), Ok(m)] = listed.as_slice() else { panic!("{listed:?}") };
        assert_eq!((deep.namespace.as_str(), deep.name.as_str()), ("shop", "deep"));
        assert!(deep.why.contains("recursion limit"), "{}", deep.why);
        assert_eq!(private.name, "private");
        assert!(private.why.contains("private"), "{}", private.why);
        assert_eq!(large.name, "large");
        assert!(large.why.starts_with("spec.disruptionBudget.minAvailable: "), "{}", large.why);
        assert_eq!(json!(m.spec.replicas), 2);
    }
}
