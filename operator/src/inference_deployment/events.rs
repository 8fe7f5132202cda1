//! Events of one object, listed when they are needed: they are not watched. Never fails: what cannot be read is not told.

use jiff::Timestamp;
use k8s_openapi::api::events::v1::Event;
use kube::Client;
use kube::api::{Api, ListParams};

use crate::in_words::in_words;

const MOST: u32 = 50;

/// Those about the object with this uid that `more` of their fields selects, as far as a page has them: where somebody has
/// filled some of them, that is one.
pub(crate) async fn fetch(client: &Client, (namespace, uid): (&str, &str), more: &str) -> Vec<Event> {
    let api: Api<Event> = Api::namespaced(client.clone(), namespace);
    let fields = format!("regarding.uid={uid}{more}");
    match api.list(&ListParams::default().fields(&fields).limit(MOST)).await {
        Ok(events) => events.items,
        Err(error) => {
            tracing::warn!("cannot list events: {}", in_words(&error));
            Vec::new()
        }
    }
}

/// When it was last so.
pub(crate) fn time(event: &Event) -> Option<Timestamp> {
    let series = event.series.as_ref().map(|series| series.last_observed_time.0);
    let last = event.deprecated_last_timestamp.as_ref().map(|time| time.0);
    series.max(last).or(event.event_time.as_ref().map(|time| time.0))
}
