//! The cluster that the kubeconfig names, and its errors in words.

use anyhow::{Context, Result, anyhow};
use k8s_openapi::NamespaceResourceScope;
use kube::api::Api;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config, Resource};
use ostro_crds::InferenceDeployment;

use super::args::ClusterArgs;

/// Where commands look.
#[derive(Clone)]
pub(super) struct Cluster {
    pub(super) client: Client,
    pub(super) namespace: String,
}

impl Cluster {
    pub(super) async fn connect(args: &ClusterArgs) -> Result<Cluster> {
        let options = KubeConfigOptions { context: args.context.clone(), ..KubeConfigOptions::default() };
        let config = match (&args.kubeconfig, &args.context) {
            (Some(path), _) => {
                let file = Kubeconfig::read_from(path)?;
                Config::from_custom_kubeconfig(file, &options).await?
            }
            (None, Some(_)) => Config::from_kubeconfig(&options).await?,
            // Inside of a pod too.
            (None, None) => Config::infer().await.context("cannot find the cluster")?,
        };
        let namespace = args.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        Ok(Cluster { client: Client::try_from(config)?, namespace })
    }

    pub(super) fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub(super) async fn fetch_opt(&self, name: &str) -> Result<Option<InferenceDeployment>> {
        match self.api::<InferenceDeployment>().get(name).await {
            Ok(object) => Ok(Some(object)),
            Err(kube::Error::Api(status)) if status.code == 404 && names(&status, name) => Ok(None),
            Err(error) => Err(explained(error)),
        }
    }

    pub(super) async fn fetch(&self, name: &str) -> Result<InferenceDeployment> {
        let found = self.fetch_opt(name).await?;
        found.with_context(|| {
            format!("there is no InferenceDeployment {name} in namespace {}", self.namespace)
        })
    }
}

fn names(status: &kube::core::Status, name: &str) -> bool {
    status.details.as_ref().is_some_and(|details| details.name == name)
}

/// An error of a request about InferenceDeployments.
pub(super) fn explained(error: kube::Error) -> anyhow::Error {
    match error {
        // A missing object or namespace is named; an API that is not there is not.
        kube::Error::Api(status) if status.code == 404 && names(&status, "") => not_installed(),
        kube::Error::Api(status) if status.code == 404 && status.details.is_none() => not_installed(),
        kube::Error::Api(status) => anyhow!("{}", status.message),
        // Of another version's objects, or by an API server that does not forward.
        error @ (kube::Error::SerdeError(_) | kube::Error::UpgradeConnection(_)) => {
            anyhow!(error).context("the API server's answer cannot be used")
        }
        error => anyhow!(error).context("cannot reach the API server"),
    }
}

fn not_installed() -> anyhow::Error {
    anyhow!("the CRD is not installed: the cluster knows no InferenceDeployments (chart ostro-crds)")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fake_api::{FakeApi, cluster, missing, no_api};

    #[tokio::test]
    async fn what_is_not_there_is_named() {
        let error = cluster(FakeApi::new()).fetch("m").await.unwrap_err();
        assert_eq!(error.to_string(), "there is no InferenceDeployment m in namespace shop");
        let error = cluster(FakeApi::answering(|_| no_api())).fetch("m").await.unwrap_err();
        assert!(error.to_string().starts_with("the CRD is not installed"), "{error}");
        let nothing = json!({ "kind": "Status", "status": "Failure", "code": 404, "reason": "NotFound", "details": {},
            "message": "the server could not find the requested resource" });
        let error =
            cluster(FakeApi::answering(move |_| (404, nothing.clone()))).fetch("m").await.unwrap_err();
        assert!(error.to_string().starts_with("the CRD is not installed"), "{error}");
        let error =
            cluster(FakeApi::answering(|_| missing("namespaces", "shop"))).fetch("m").await.unwrap_err();
        assert_eq!(error.to_string(), "namespaces \"shop\" not found");
    }
}
