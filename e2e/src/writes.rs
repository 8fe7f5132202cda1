//! What the API server was made to write, by its own account.

use std::collections::BTreeMap;

use crate::exposition::samples;

/// Objects that the API server was made to write, by verb and resource, such as `APPLY deployments`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Writes(pub BTreeMap<String, u64>);

const VERBS: [&str; 6] = ["POST", "PUT", "PATCH", "APPLY", "DELETE", "DELETECOLLECTION"];

impl Writes {
    /// From the API server's metrics. Leases are left out: they are written as long as somebody lives.
    pub fn parse(text: &str) -> Writes {
        let mut writes = BTreeMap::new();
        for sample in samples(text, "apiserver_request_total") {
            let (verb, resource) = (sample.label("verb"), sample.label("resource"));
            let is_done = sample.label("code").starts_with('2') && sample.label("dry_run").is_empty();
            if !is_done || !VERBS.contains(&verb) || resource == "leases" {
                continue;
            }
            let slash = if sample.label("subresource").is_empty() { "" } else { "/" };
            let name = format!("{verb} {resource}{slash}{}", sample.label("subresource"));
            *writes.entry(name).or_default() += sample.value as u64;
        }
        Writes(writes)
    }

    pub fn since(&self, before: &Writes) -> Writes {
        let differences = self.0.iter().map(|(name, count)| {
            let before = before.0.get(name).copied().unwrap_or_default();
            (name.clone(), count.saturating_sub(before))
        });
        Writes(differences.filter(|(_, count)| *count > 0).collect())
    }

    /// By server-side apply, which nobody but the operator does here, and revisions and configurations that are made;
    /// objects themselves are applied by the benchmark, and what namespaces get of Kubernetes is there before.
    pub fn applied(&self) -> u64 {
        let is_operators = |name: &str| {
            let is_apply = name.starts_with("APPLY ") && name != "APPLY inferencedeployments";
            is_apply || ["POST controllerrevisions", "POST configmaps"].contains(&name)
        };
        self.0.iter().filter(|(name, _)| is_operators(name)).map(|(_, count)| count).sum()
    }

    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }

    pub fn describe(&self) -> String {
        let all: Vec<String> = self.0.iter().map(|(name, count)| format!("{count} {name}")).collect();
        all.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"# TYPE apiserver_request_total counter
apiserver_request_total{code="200",component="apiserver",dry_run="",group="apps",resource="deployments",scope="resource",subresource="",verb="APPLY",version="v1"} 5
apiserver_request_total{code="201",component="apiserver",dry_run="",group="apps",resource="deployments",scope="resource",subresource="",verb="APPLY",version="v1"} 2
apiserver_request_total{code="409",component="apiserver",dry_run="",group="apps",resource="deployments",scope="resource",subresource="",verb="APPLY",version="v1"} 9
apiserver_request_total{code="200",component="apiserver",dry_run="All",group="apps",resource="deployments",scope="resource",subresource="",verb="APPLY",version="v1"} 9
apiserver_request_total{code="200",component="apiserver",dry_run="",group="apps",resource="deployments",scope="resource",subresource="status",verb="PUT",version="v1"} 3
apiserver_request_total{code="200",component="apiserver",dry_run="",group="i",resource="inferencedeployments",scope="resource",subresource="",verb="APPLY",version="v1"} 100
apiserver_request_total{code="200",component="apiserver",dry_run="",group="i",resource="inferencedeployments",scope="resource",subresource="status",verb="APPLY",version="v1"} 1e+01
apiserver_request_total{code="200",component="apiserver",dry_run="",group="c",resource="leases",scope="resource",subresource="",verb="PUT",version="v1"} 77
apiserver_request_total{code="200",component="apiserver",dry_run="",group="",resource="pods",scope="cluster",subresource="",verb="LIST",version="v1"} 8
apiserver_request_total{code="201",component="apiserver",dry_run="",group="apps",resource="controllerrevisions",scope="resource",subresource="",verb="POST",version="v1"} 4
apiserver_request_total{code="201",component="apiserver",dry_run="",group="",resource="configmaps",scope="resource",subresource="",verb="POST",version="v1"} 6
apiserver_request_total_other 4
"#;

    #[test]
    fn writes_that_were_done_are_counted_by_verb_and_resource() {
        let writes = Writes::parse(TEXT);
        let told = "7 APPLY deployments, 100 APPLY inferencedeployments, 10 APPLY inferencedeployments/status, \
            6 POST configmaps, 4 POST controllerrevisions, 3 PUT deployments/status";
        assert_eq!(writes.describe(), told);
        assert_eq!((writes.applied(), writes.total()), (27, 130));
        let later = Writes::parse(&TEXT.replace("} 3\n", "} 4\n"));
        assert_eq!(later.since(&writes).describe(), "1 PUT deployments/status");
        assert_eq!(writes.since(&writes).total(), 0);
    }
}
