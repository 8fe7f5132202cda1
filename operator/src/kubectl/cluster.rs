//! The cluster that the kubeconfig names.

use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use k8s_openapi::NamespaceResourceScope;
use kube::api::{Api, GetParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::Request;
use kube::{Client, Config, Resource};
use ostro_crds::InferenceDeployment;
use serde_json::value::RawValue;

use super::args::ClusterArgs;
use super::explained::{explained, explained_config, is_about};
use super::list;
use crate::args::namespace;

const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// An API server ends requests after 60 seconds by itself.
pub(super) const SILENCE_LIMIT: Duration = Duration::from_secs(75);

/// Where commands look.
#[derive(Clone)]
pub(super) struct Cluster {
    pub(super) client: Client,
    pub(super) namespace: String,
}

impl Cluster {
    /// Gives up where nothing comes for as long as `silence`.
    pub(super) async fn connect(args: &ClusterArgs, silence: Option<Duration>) -> Result<Cluster> {
        let config = config(args).await?;
        let namespace = match (&args.namespace, config.default_namespace.as_str()) {
            (Some(namespace), _) => namespace.clone(),
            // As kubectl takes it.
            (None, "") => "default".to_owned(),
            (None, name) => {
                namespace(name).map_err(|rule| anyhow!("the context's namespace {name:?}: {rule}"))?
            }
        };
        Ok(Cluster { client: client(config, silence)?, namespace })
    }

    pub(super) fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub(super) async fn fetch_opt(&self, name: &str) -> Result<Option<InferenceDeployment>> {
        let path = InferenceDeployment::url_path(&(), Some(&self.namespace));
        let request = Request::new(path).get(name, &GetParams::default());
        let request = request.map_err(|error| explained(kube::Error::BuildRequest(error)))?;
        let text = match self.client.request_text(request).await {
            Ok(text) => text,
            Err(kube::Error::Api(status)) if status.code == 404 && is_about(&status, name) => {
                return Ok(None);
            }
            Err(error) => return Err(explained(error)),
        };
        // A web server's page is none.
        serde_json::from_str::<&RawValue>(&text)
            .map_err(|error| explained(kube::Error::SerdeError(error)))?;
        let object = list::read(&text).map_err(|object| anyhow!("{name} cannot be read: {}", object.why))?;
        Ok(Some(object))
    }

    pub(super) async fn fetch(&self, name: &str) -> Result<InferenceDeployment> {
        let found = self.fetch_opt(name).await?;
        found.with_context(|| {
            format!("there is no InferenceDeployment {name} in namespace {}", self.namespace)
        })
    }
}

async fn config(args: &ClusterArgs) -> Result<Config> {
    let options = KubeConfigOptions { context: args.context.clone(), ..KubeConfigOptions::default() };
    match (&args.kubeconfig, &args.context) {
        (Some(path), _) => {
            let named = || format!("cannot use --kubeconfig {}", path.display());
            let file = Kubeconfig::read_from(path).with_context(named)?;
            Config::from_custom_kubeconfig(file, &options).await.with_context(named)
        }
        (None, Some(_)) => {
            let config = Config::from_kubeconfig(&options).await;
            config.context("cannot use the kubeconfig (KUBECONFIG, else ~/.kube/config)")
        }
        // Inside of a pod too.
        (None, None) => {
            let config = Config::infer().await;
            config.context(
                "cannot find the cluster by a kubeconfig (KUBECONFIG, else ~/.kube/config), nor as a pod",
            )
        }
    }
}

fn client(mut config: Config, silence: Option<Duration>) -> Result<Client> {
    config.connect_timeout = Some(CONNECT_LIMIT);
    config.read_timeout = silence;
    // Else the time for which a connection had nothing to do counts too.
    config.reset_reader_on_write = true;
    let plugin = config.auth_info.exec.as_ref().and_then(|exec| exec.command.clone());
    let client = Client::try_from(config).map_err(explained_config);
    client.with_context(|| match plugin {
        Some(plugin) => format!("cannot get credentials by {plugin}"),
        None => "cannot use the kubeconfig".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tokio::net::TcpListener;
    use tokio::time::Instant;

    use super::super::fake_api::{FakeApi, cluster};
    use super::*;
    use crate::terminal;

    #[tokio::test]
    async fn what_is_not_there_is_named() {
        let error = cluster(FakeApi::new()).fetch("m").await.unwrap_err();
        assert_eq!(error.to_string(), "there is no InferenceDeployment m in namespace shop");
    }

    #[tokio::test]
    async fn the_field_that_cannot_be_read_is_named() {
        let object = json!({
            "metadata": { "name": "m" },
            "spec": { "models": [{ "modelId": "a/b" }], "rollout": { "maxSurge": 99_999_999_999_u64 } },
        });
        let api = FakeApi::answering(move |_| (200, object.clone()));
        let error = cluster(api).fetch("m").await.unwrap_err().to_string();
        assert!(error.starts_with("m cannot be read: spec.rollout.maxSurge: "), "{error}");
    }

    #[tokio::test]
    async fn a_silent_server_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let config = Config::new(format!("http://{}", listener.local_addr().unwrap()).parse().unwrap());
        let client = client(config, Some(SILENCE_LIMIT)).unwrap();
        let started = Instant::now();
        let call = tokio::spawn(async move {
            Cluster { client, namespace: "shop".to_owned() }.fetch("m").await.unwrap_err()
        });
        let _connection = listener.accept().await.unwrap();
        // From here on nothing but time passes.
        tokio::time::pause();
        let error = call.await.unwrap();
        assert!((SILENCE_LIMIT..SILENCE_LIMIT * 2).contains(&started.elapsed()), "{:?}", started.elapsed());
        let error = terminal::error(&error);
        assert!(error.starts_with("cannot reach the API server") && error.ends_with("timed out"), "{error}");
    }
}
