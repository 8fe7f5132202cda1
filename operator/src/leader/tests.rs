use axum::http::{Request, Response};

use super::*;

struct World {
    lease: Option<LeaseSpec>,
    start: Instant,
    seconds: u64,
}

impl World {
    /// Lets one operator act; true if it holds the lease then.
    fn act(&mut self, election: &mut Election) -> bool {
        let now = self.start + Duration::from_secs(self.seconds);
        let wall = Timestamp::from_second(self.seconds as i64).unwrap();
        match election.decide(self.lease.as_ref(), now, wall) {
            Decision::Take(spec) => {
                self.lease = Some(*spec);
                true
            }
            Decision::Wait => false,
        }
    }
}

#[test]
fn the_lease_passes_on_only_when_its_holder_is_silent_or_lets_go() {
    let mut world = World { lease: None, start: Instant::now(), seconds: 0 };
    let (mut a, mut b) = (Election::new("a".to_owned()), Election::new("b".to_owned()));
    assert!(world.act(&mut a));
    // While the holder renews, nobody else gets it, for however long.
    for _ in 0..100 {
        world.seconds += 10;
        assert!(world.act(&mut a) && !world.act(&mut b));
    }
    assert_eq!(world.lease.as_ref().unwrap().lease_transitions, Some(0));
    // Silence: not before the lease's duration is over.
    world.seconds += 14;
    assert!(!world.act(&mut b));
    world.seconds += 1;
    assert!(world.act(&mut b));
    assert_eq!(world.lease.as_ref().unwrap().lease_transitions, Some(1));
    // The old holder sees that it has lost.
    assert!(!world.act(&mut a));
    // Let go: at once.
    world.lease.as_mut().unwrap().holder_identity = None;
    assert!(world.act(&mut a));
}

#[test]
fn two_processes_of_one_name_do_not_both_lead() {
    let mut world = World { lease: None, start: Instant::now(), seconds: 0 };
    let [mut first, mut second] = [identity("pod"), identity("pod")].map(Election::new);
    assert!(world.act(&mut first) && !world.act(&mut second) && world.act(&mut first));
    let holder = world.lease.unwrap().holder_identity.unwrap();
    assert!(holder.starts_with("pod_"), "{holder}");
}

/// What the API does with the lease from a second on, until the next.
#[derive(Clone, Copy)]
enum Api {
    Writes,
    Fails,
    Hangs,
    /// It has another holder.
    IsAnothers,
}

/// Seconds for which a holder of the lease goes on.
async fn held(script: &'static [(u64, Api)]) -> u64 {
    let start = Instant::now();
    let service = tower::service_fn(move |request: Request<kube::client::Body>| async move {
        let second = start.elapsed().as_secs();
        let (_, now) = script.iter().rev().find(|(from, _)| *from <= second).unwrap();
        let holder = if matches!(now, Api::IsAnothers) { "b" } else { "a" };
        let lease = serde_json::json!({
            "metadata": { "name": NAME, "resourceVersion": "1" },
            "spec": { "holderIdentity": holder, "leaseDurationSeconds": 15 },
        });
        let (status, body) = match now {
            Api::Hangs => std::future::pending().await,
            Api::Fails => (500, String::new()),
            _ if request.method() == "GET" => (200, lease.to_string()),
            Api::Writes => (200, lease.to_string()),
            Api::IsAnothers => (409, String::new()),
        };
        let response = Response::builder().status(status).body(axum::body::Body::from(body));
        Ok::<_, kube::Error>(response.unwrap())
    });
    let api = kube::Api::namespaced(Client::new(service, "n"), "n");
    Leader { api, election: Election::new("a".to_owned()) }.hold().await;
    start.elapsed().as_secs()
}

#[tokio::test(start_paused = true)]
async fn a_holder_ends_before_another_may_take_its_lease() {
    use self::Api::{Fails, Hangs, IsAnothers, Writes};
    // Renewed at second 8 last.
    assert_eq!(held(&[(0, Writes), (9, Fails)]).await, 18);
    assert_eq!(held(&[(0, Writes), (9, Hangs)]).await, 18);
    // Failures first, so that an attempt hangs while the time runs out.
    assert_eq!(held(&[(0, Writes), (9, Fails), (15, Hangs)]).await, 18);
    // An attempt that hangs leaves time for one that does not.
    assert_eq!(held(&[(0, Writes), (9, Hangs), (15, Writes), (25, Fails)]).await, 34);
    assert_eq!(held(&[(0, Writes), (9, IsAnothers)]).await, 10);
}

#[test]
fn a_holder_whose_clock_is_wrong_keeps_the_lease() {
    let mut world = World { lease: None, start: Instant::now(), seconds: 0 };
    let (mut a, mut b) = (Election::new("a".to_owned()), Election::new("b".to_owned()));
    assert!(world.act(&mut a));
    let ancient = MicroTime(Timestamp::from_second(-1_000_000).unwrap());
    world.lease.as_mut().unwrap().renew_time = Some(ancient);
    assert!(!world.act(&mut b));
}
