use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};

use futures::FutureExt;
use ostro_crds::ModelState;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

fn ids(ids: &[&str]) -> Vec<String> {
    ids.iter().map(|id| (*id).to_owned()).collect()
}

/// How a scripted daemon takes a connection.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Says {
    Loading,
    Loaded,
    /// Loading, after nearly a second.
    Late,
    Refuses,
    Nothing,
}

/// Daemons that all say the same, and how often they were asked.
#[derive(Clone)]
struct Script {
    says: Arc<Mutex<Says>>,
    asked: Arc<AtomicUsize>,
    at_once: Arc<(AtomicUsize, AtomicUsize)>,
}

impl Script {
    fn new(says: Says) -> (Script, Daemons) {
        let script =
            Script { says: Arc::new(Mutex::new(says)), asked: Arc::default(), at_once: Arc::default() };
        let shared = script.clone();
        let dial: Dial = Arc::new(move |_| shared.clone().connect().boxed());
        let daemons = Daemons::new(dial, Metrics::new());
        (script, daemons)
    }

    async fn connect(self) -> std::io::Result<Box<dyn Connection>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let says = *self.says.lock().unwrap();
        let status = match says {
            Says::Refuses => return Err(std::io::ErrorKind::ConnectionRefused.into()),
            Says::Nothing => return std::future::pending().await,
            Says::Loading | Says::Late => "loading",
            Says::Loaded => "loaded",
        };
        let (now, most) = &*self.at_once;
        most.fetch_max(now.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(if says == Says::Late { 900 } else { 10 })).await;
        now.fetch_sub(1, Ordering::Relaxed);
        let (client, mut server) = tokio::io::duplex(1 << 16);
        let list = json!({ "data": [{ "id": "a", "status": status }] });
        tokio::spawn(async move {
            server.read_u8().await?;
            server.write_all(format!("HTTP/1.1 200 OK\r\n\r\n{list}").as_bytes()).await?;
            server.shutdown().await?;
            // Kept until the answer is read.
            server.read_to_end(&mut Vec::new()).await
        });
        Ok(Box::new(client))
    }

    fn say(&self, says: Says) {
        *self.says.lock().unwrap() = says;
    }

    fn asked(&self) -> usize {
        self.asked.swap(0, Ordering::Relaxed)
    }
}

fn pod(name: &str, is_ready: bool, container: &str) -> Value {
    let ready = if is_ready { "True" } else { "False" };
    json!({
        "metadata": { "name": name, "namespace": "n", "uid": name },
        "spec": { "containers": [{ "name": "ostro", "ports": [{ "name": "http", "containerPort": 1234 }] }] },
        "status": {
            "podIP": "fd00::7", "conditions": [{ "type": "Ready", "status": ready }],
            "containerStatuses": [{
                "name": "ostro", "image": "", "imageID": "", "restartCount": 0, "ready": is_ready,
                "containerID": container, "state": { "running": {} },
            }],
        },
    })
}

async fn look(daemons: &Daemons, pods: &[Value]) -> Look {
    let pods: Vec<Pod> = pods.iter().map(|pod| serde_json::from_value(pod.clone()).unwrap()).collect();
    daemons.look("uid", &ids(&["a"]), &pods).await
}

fn state(look: &Look) -> Option<ModelState> {
    look.pods[0].told.as_ref()?[0].state
}

async fn wait(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn a_pod_is_asked_when_it_changes_and_while_it_is_not_ready() {
    let (script, daemons) = Script::new(Says::Loading);
    let starts = [pod("p", false, "1")];
    let first = look(&daemons, &starts).await;
    assert_eq!((state(&first), script.asked()), (Some(ModelState::Loading), 1));
    let again = first.again.unwrap();
    assert!(again <= AGAIN && again > AGAIN / 2, "{again:?}");
    // Another event of the object.
    let same = look(&daemons, &starts).await;
    assert_eq!((state(&same), script.asked()), (Some(ModelState::Loading), 0));
    wait(10).await;
    script.say(Says::Loaded);
    assert_eq!((state(&look(&daemons, &starts).await), script.asked()), (Some(ModelState::Loaded), 1));

    let ready = [pod("p", true, "1")];
    let now = look(&daemons, &ready).await;
    assert_eq!((state(&now), now.again, script.asked()), (Some(ModelState::Loaded), None, 1));
    wait(500).await;
    look(&daemons, &ready).await;
    assert_eq!(script.asked(), 0);
    wait(100).await;
    look(&daemons, &ready).await;
    assert_eq!(script.asked(), 1);

    // The container is another one.
    look(&daemons, &[pod("p", true, "2")]).await;
    assert_eq!(script.asked(), 1);
    // The object names another model.
    let pods = [serde_json::from_value(pod("p", true, "2")).unwrap()];
    assert_eq!(daemons.look("uid", &ids(&["b"]), &pods).await.pods[0].told, Some(Vec::new()));
    assert_eq!(script.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn only_running_containers_are_asked() {
    let changes: [fn(&mut Value); 5] = [
        |pod| pod["status"]["podIP"] = Value::Null,
        |pod| pod["status"]["containerStatuses"][0]["state"] = json!({ "waiting": {} }),
        |pod| pod["spec"]["containers"][0]["ports"] = Value::Null,
        |pod| pod["status"] = Value::Null,
        |pod| pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z"),
    ];
    for change in changes {
        let (script, daemons) = Script::new(Says::Loading);
        let mut pod = pod("p", false, "1");
        change(&mut pod);
        let look = look(&daemons, &[pod.clone()]).await;
        assert_eq!((script.asked(), look.again), (0, None), "{pod}");
        assert!(look.pods.iter().all(|pod| pod.told.is_none()), "{look:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn silence_leaves_the_last_word_and_makes_questions_rare() {
    let (script, daemons) = Script::new(Says::Loading);
    let pods = [pod("p", false, "1")];
    look(&daemons, &pods).await;
    script.say(Says::Refuses);
    let mut waits = Vec::new();
    for _ in 0..9 {
        wait(600).await;
        let look = look(&daemons, &pods).await;
        assert_eq!(state(&look), Some(ModelState::Loading));
        waits.push(look.again.unwrap().as_secs());
    }
    assert_eq!(waits, [10, 20, 40, 80, 160, 320, 600, 600, 600]);
    // Another container has not said anything.
    assert_eq!(state(&look(&daemons, &[pod("p", false, "2")]).await), None);
    script.say(Says::Loading);
    wait(20).await;
    let back = look(&daemons, &[pod("p", false, "2")]).await;
    assert_eq!(state(&back), Some(ModelState::Loading));
    assert!(back.again <= Some(AGAIN), "{:?}", back.again);
}

#[tokio::test(start_paused = true)]
async fn many_silent_pods_hold_nobody_up() {
    let (script, daemons) = Script::new(Says::Nothing);
    let pods: Vec<Value> = (0..500).map(|index| pod(&format!("p{index}"), true, "1")).collect();
    let started = Instant::now();
    let found = look(&daemons, &pods).await;
    assert!(started.elapsed() <= LOOK_LIMIT + Duration::from_millis(10), "{:?}", started.elapsed());
    assert!(found.pods.len() == 500 && found.pods.iter().all(|pod| pod.is_ready && pod.told.is_none()));
    // The network is closed: the next object waits for less.
    let started = Instant::now();
    daemons.look("another", &ids(&["a"]), &[serde_json::from_value(pods[0].clone()).unwrap()]).await;
    assert!(started.elapsed() <= PATIENCE_IN_SILENCE + Duration::from_millis(10), "{:?}", started.elapsed());
    script.say(Says::Loaded);
    wait(600).await;
    let found = look(&daemons, &pods).await;
    assert!(found.pods.iter().all(|pod| pod.told.is_some()));
    let most = script.at_once.1.load(Ordering::Relaxed);
    assert!(most > 1 && most <= CONCURRENCY, "{most} at once");
}

#[tokio::test(start_paused = true)]
async fn objects_that_are_gone_are_forgotten() {
    let (_, daemons) = Script::new(Says::Loaded);
    look(&daemons, &[pod("p", true, "1")]).await;
    look(&daemons, &[]).await;
    assert!(daemons.memory.lock().all.is_empty());
    look(&daemons, &[pod("p", true, "1")]).await;
    wait(3601).await;
    let pods = [serde_json::from_value(pod("p", true, "1")).unwrap()];
    daemons.look("another", &ids(&["a"]), &pods).await;
    assert_eq!(daemons.memory.lock().all.keys().collect::<Vec<_>>(), ["another"]);
}

#[tokio::test(start_paused = true)]
async fn daemons_that_answer_late_are_asked_less_and_less() {
    let (script, daemons) = Script::new(Says::Late);
    let starts = [pod("p", false, "1")];
    let mut waits = Vec::new();
    for _ in 0..9 {
        let look = look(&daemons, &starts).await;
        assert_eq!((state(&look), script.asked()), (Some(ModelState::Loading), 1));
        waits.push(look.again.unwrap());
        tokio::time::sleep(look.again.unwrap()).await;
    }
    assert!(waits.is_sorted() && waits[8] > 7 * AGAIN && waits[8] <= 8 * AGAIN, "{waits:?}");
    script.say(Says::Loading);
    assert!(look(&daemons, &starts).await.again.unwrap() <= AGAIN);
}
