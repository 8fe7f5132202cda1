//! What happens to the objects and their Deployments, and when, as watches tell it.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde::Deserialize;

use super::api::Api;

pub(super) const OBJECTS: &str = "/apis/inference.ostro.dev/v1alpha1/inferencedeployments";
const DEPLOYMENTS: &str = "/apis/apps/v1/deployments";

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Watched {
    Object,
    Deployment,
}

/// A line of a watch.
#[derive(Debug)]
struct Event {
    of: Watched,
    /// `namespace/name`; an object and its Deployment have the same.
    key: String,
    generation: u64,
    is_ready: bool,
    at: Instant,
}

/// The latest that was seen of one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) generation: u64,
    /// When this generation was seen first.
    pub(super) since: Instant,
    is_ready: bool,
}

pub(super) struct Observer {
    events: Receiver<Event>,
    seen: BTreeMap<(Watched, String), Seen>,
}

impl Observer {
    pub(super) fn start(api: &Api) -> Result<Observer> {
        let (sender, events) = channel();
        for (of, path) in [(Watched::Object, OBJECTS), (Watched::Deployment, DEPLOYMENTS)] {
            let (lines, sender) = (api.watch(path)?, sender.clone());
            std::thread::spawn(move || send_all(of, lines, &sender));
        }
        Ok(Observer { events, seen: BTreeMap::new() })
    }

    /// Waits until as many objects are Ready in their latest generation.
    pub(super) fn await_ready(&mut self, count: usize, limit: Duration) -> Result<()> {
        self.await_until(limit, |seen| {
            let ready = seen.iter().filter(|((of, _), seen)| *of == Watched::Object && seen.is_ready);
            let ready = ready.count();
            if ready >= count { Ok(()) } else { Err(format!("{ready} of {count} objects are Ready")) }
        })
    }

    /// # Errors
    /// The time is over, with what is lacking still; or a watch has ended.
    pub(super) fn await_until(
        &mut self,
        limit: Duration,
        lacks: impl Fn(&BTreeMap<(Watched, String), Seen>) -> Result<(), String>,
    ) -> Result<()> {
        let end = Instant::now() + limit;
        while let Err(lack) = lacks(&self.seen) {
            match self.events.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(event) => self.take(event),
                Err(RecvTimeoutError::Timeout) => bail!("{lack} after {limit:?}"),
                Err(RecvTimeoutError::Disconnected) => bail!("{lack} when the watches ended"),
            }
            // Counting is not done for each of a hundred events that came together.
            while let Ok(event) = self.events.try_recv() {
                self.take(event);
            }
        }
        Ok(())
    }

    /// After all that came until now.
    pub(super) fn latest(&mut self, of: Watched, key: &str) -> Option<Seen> {
        while let Ok(event) = self.events.try_recv() {
            self.take(event);
        }
        self.seen.get(&(of, key.to_owned())).copied()
    }

    fn take(&mut self, event: Event) {
        let Event { of, key, generation, is_ready, at } = event;
        let before = self.seen.get(&(of, key.clone())).filter(|before| before.generation == generation);
        let since = before.map_or(at, |before| before.since);
        self.seen.insert((of, key), Seen { generation, since, is_ready });
    }
}

fn send_all(of: Watched, lines: impl Iterator<Item = String>, events: &Sender<Event>) {
    for line in lines {
        let at = Instant::now();
        let Some(event) = parse(of, &line, at) else {
            eprintln!("not understood in a watch: {line}");
            continue;
        };
        if events.send(event).is_err() {
            return;
        }
    }
}

#[derive(Deserialize)]
struct Line {
    object: Object,
}

#[derive(Deserialize)]
struct Object {
    metadata: Metadata,
    #[serde(default)]
    status: Status,
}

#[derive(Deserialize)]
struct Metadata {
    name: String,
    namespace: String,
    generation: u64,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    observed_generation: u64,
    conditions: Vec<Condition>,
}

#[derive(Deserialize)]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
}

fn parse(of: Watched, line: &str, at: Instant) -> Option<Event> {
    let Line { object: Object { metadata, status } } = serde_json::from_str(line).ok()?;
    let is_true = |condition: &Condition| condition.kind == "Ready" && condition.status == "True";
    let is_ready = status.observed_generation == metadata.generation && status.conditions.iter().any(is_true);
    let key = format!("{}/{}", metadata.namespace, metadata.name);
    Some(Event { of, key, generation: metadata.generation, is_ready, at })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(generation: u64, observed: u64, ready: &str) -> String {
        format!(
            r#"{{"type":"MODIFIED","object":{{"kind":"X","metadata":{{"name":"m","namespace":"n","generation":{generation}}},
            "status":{{"observedGeneration":{observed},"conditions":[{{"type":"Ready","status":"{ready}"}}]}}}}}}"#
        )
    }

    fn observer() -> (Sender<Event>, Observer) {
        let (sender, events) = channel();
        (sender, Observer { events, seen: BTreeMap::new() })
    }

    #[test]
    fn a_status_of_an_older_generation_is_not_ready() {
        for (generation, observed, ready, expected) in
            [(1, 1, "True", true), (2, 1, "True", false), (2, 2, "False", false), (2, 2, "True", true)]
        {
            let event = parse(Watched::Object, &line(generation, observed, ready), Instant::now()).unwrap();
            assert_eq!((event.is_ready, event.key.as_str()), (expected, "n/m"));
        }
        let fresh = r#"{"type":"ADDED","object":{"metadata":{"name":"m","namespace":"n","generation":1}}}"#;
        assert!(!parse(Watched::Object, fresh, Instant::now()).unwrap().is_ready);
        assert!(parse(Watched::Object, r#"{"type":"BOOKMARK"}"#, Instant::now()).is_none());
    }

    #[test]
    fn a_generations_time_is_that_of_its_first_event() {
        let (sender, mut observer) = observer();
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        for (generation, ms) in [(1, 0), (2, 10), (2, 20)] {
            sender.send(parse(Watched::Deployment, &line(generation, 0, "False"), at(ms)).unwrap()).unwrap();
        }
        let seen = observer.latest(Watched::Deployment, "n/m").unwrap();
        assert_eq!((seen.generation, seen.since), (2, at(10)));
        assert!(observer.latest(Watched::Object, "n/m").is_none());
    }

    #[test]
    fn waiting_tells_what_is_lacking() {
        let (sender, mut observer) = observer();
        sender.send(parse(Watched::Object, &line(1, 1, "True"), Instant::now()).unwrap()).unwrap();
        observer.await_ready(1, Duration::from_secs(5)).unwrap();
        let error = observer.await_ready(2, Duration::ZERO).unwrap_err().to_string();
        assert!(error.starts_with("1 of 2"), "{error}");
        drop(sender);
        let error = observer.await_ready(2, Duration::from_secs(5)).unwrap_err().to_string();
        assert!(error.contains("the watches ended"), "{error}");
    }
}
