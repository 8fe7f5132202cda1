//! Asks the API server which of the optional APIs it has: at start, then now and then, and sooner when somebody lacks
//! one. Never fails; what it learned stays until the API server says otherwise.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use tokio::sync::Notify;
use tokio::sync::watch::{Receiver, Sender, channel};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::in_words::in_words;
use crate::inference_deployment::build::ChildKind;
use crate::inference_deployment::optional::Presence;
use crate::metrics::Metrics;

const SELDOM: Duration = Duration::from_secs(300);
/// While an object wants what is missing.
const OFTEN: Duration = Duration::from_secs(30);
/// However often somebody asks.
const SHORTEST: Duration = Duration::from_secs(10);
const ANSWER: Duration = Duration::from_secs(10);

pub(crate) struct Discovery {
    client: Client,
    metrics: Metrics,
    known: BTreeMap<ChildKind, Sender<Presence>>,
    asked: Arc<Notify>,
}

impl Discovery {
    pub(crate) fn new(client: Client, metrics: Metrics) -> Self {
        let known = ChildKind::OPTIONAL.map(|kind| (kind, channel(Presence::Unknown).0));
        Discovery { client, metrics, known: known.into(), asked: Arc::default() }
    }

    pub(crate) fn presence(&self, kind: ChildKind) -> Receiver<Presence> {
        self.known[&kind].subscribe()
    }

    /// Makes the next question come soon.
    pub(crate) fn asker(&self) -> impl Fn() + Clone + Send + Sync + 'static {
        let asked = self.asked.clone();
        move || asked.notify_one()
    }

    pub(crate) async fn run(&self, is_wanted: impl Fn(ChildKind) -> bool) -> Infallible {
        loop {
            let started = Instant::now();
            self.ask().await;
            let lacks = |(kind, presence): (&ChildKind, &Sender<Presence>)| {
                *presence.borrow() != Presence::Present && is_wanted(*kind)
            };
            let wait = if self.known.iter().any(lacks) { OFTEN } else { SELDOM };
            tokio::select! {
                () = sleep(wait) => {}
                () = self.asked.notified() => sleep_until(started + SHORTEST).await,
            }
        }
    }

    async fn ask(&self) {
        let mut answers = BTreeMap::new();
        for (kind, known) in &self.known {
            let resource = kind.resource();
            let version = resource.api_version;
            if !answers.contains_key(&version) {
                answers.insert(version.clone(), self.resources(&version).await);
            }
            let presence = match &answers[&version] {
                Ok(resources) if resources.contains(&resource.plural) => Presence::Present,
                Ok(_) => Presence::Absent,
                Err(message) => Presence::Unanswered(message.clone()),
            };
            self.learn(*kind, known, presence);
        }
    }

    /// The resources of a version of a group, none when there is no such group.
    async fn resources(&self, version: &str) -> Result<Vec<String>, String> {
        match timeout(ANSWER, self.client.list_api_group_resources(version)).await {
            Ok(Ok(list)) => Ok(list.resources.into_iter().map(|resource| resource.name).collect()),
            Ok(Err(kube::Error::Api(status))) if status.code == 404 => Ok(Vec::new()),
            Ok(Err(error)) => Err(format!("cannot ask for {version}: {}", in_words(&error))),
            Err(_) => Err(format!("cannot ask for {version}: no answer")),
        }
    }

    fn learn(&self, kind: ChildKind, known: &Sender<Presence>, presence: Presence) {
        if let Presence::Unanswered(message) = &presence {
            tracing::warn!(?kind, message);
        }
        let is_news = known.send_if_modified(|known| {
            let is_guess = matches!(presence, Presence::Unanswered(_));
            let keeps = is_guess && matches!(known, Presence::Present | Presence::Absent);
            let is_news = !keeps && *known != presence;
            if is_news {
                *known = presence;
            }
            is_news
        });
        let is_present = *known.borrow() == Presence::Present;
        self.metrics.set_optional_api(&kind.resource(), is_present);
        if is_news {
            tracing::info!(?kind, is_present, "discovered");
        }
    }
}
