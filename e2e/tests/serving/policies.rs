//! NetworkPolicies of the operator and of its chart, to which the nodes hold their pods.

use std::net::SocketAddr;
use std::path::Path;

use serde_json::json;

use crate::network::Network;
use crate::objects::{BUSYBOX, await_phase, await_ready, client, get, object, of_disk, pods};
use crate::support::helm::NAMESPACE;
use crate::support::{Cluster, await_until};

/// Something listens there, and no policy names it.
const OTHER: u16 = 9999;

/// The port of a daemon whose spec names none.
const DAEMON: u16 = 1234;

/// What no policy holds, so that only that of who asks counts. They listen at 443 and at [`OTHER`].
struct Others {
    peer: Network,
    outside: Network,
    dns: SocketAddr,
    api: SocketAddr,
}

pub(crate) fn check(cluster: &Cluster, model: &Path) {
    let mut offline = of_disk(model);
    offline["networkPolicy"] = json!({ "enabled": true, "offline": true });
    cluster.apply(&object("offline", &offline));
    cluster.apply(&client("peer", None, &json!({ "image": BUSYBOX })));
    await_phase(cluster, "peer", "Running");
    await_ready(cluster, "offline");
    let others = others(cluster);
    let targets = [&others.peer, &others.outside];
    let _listeners = targets.map(|one| [443, OTHER].map(|port| one.listen(port)));

    let service = service(cluster, "chat", 80);
    assert!(others.peer.reaches(service), "no way to the Service");
    let chats: Vec<_> = pods(cluster, "chat").iter().map(|pod| Network::of(pod, "ostro")).collect();
    let offline = Network::of(&pods(cluster, "offline")[0], "ostro");
    for pod in chats.iter().chain([&offline]) {
        check_in(pod, &others);
    }
    for pod in &chats {
        check_out(pod, &others, true);
    }
    check_out(&offline, &others, false);
    check_operator(cluster, &chats[0], &others);
    check_without(cluster, &chats[0], &others);
    cluster.kubectl(&["delete", "infd/offline", "pod/peer", "--now"]);
}

fn others(cluster: &Cluster) -> Others {
    let api = cluster.server();
    Others {
        peer: Network::of(&get(cluster, &["pod", "peer"]), "sleep"),
        outside: Network::at(&cluster.network(), &api.ip().to_string()),
        dns: "10.96.0.10:53".parse().unwrap(),
        api,
    }
}

fn service(cluster: &Cluster, name: &str, port: u16) -> SocketAddr {
    let service = get(cluster, &["service", name]);
    SocketAddr::new(service["spec"]["clusterIP"].as_str().unwrap().parse().unwrap(), port)
}

/// The daemon's port, and no other.
fn check_in(pod: &Network, others: &Others) {
    let _listener = pod.listen(OTHER);
    assert!(pod.reaches(SocketAddr::from(([127, 0, 0, 1], OTHER))), "nothing listens");
    for from in [&others.peer, &others.outside] {
        // Rules follow a pod by a moment.
        await_until("the policy", || !from.reaches(pod.port(OTHER)));
        assert!(from.reaches(pod.port(DAEMON)));
    }
}

/// To DNS and HTTPS, or to nothing.
fn check_out(pod: &Network, others: &Others, is_open: bool) {
    let Others { peer, outside, dns, api } = others;
    assert_eq!(pod.resolves(*dns), is_open, "DNS by UDP");
    for (to, expected) in [
        (*dns, is_open),
        (peer.port(443), is_open),
        (outside.port(443), is_open),
        (peer.port(OTHER), false),
        (outside.port(OTHER), false),
        (*api, false),
    ] {
        assert_eq!(pod.reaches(to), expected, "{to}");
    }
}

/// To DNS, the API server and the pods of objects, whose daemons it asks.
fn check_operator(cluster: &Cluster, daemon: &Network, others: &Others) {
    let list = get(cluster, &["pods", "--namespace", NAMESPACE]);
    let pod = Network::of(&list["items"][0], "ostro-operator");
    assert!(pod.resolves(others.dns) && !pod.reaches(others.peer.port(OTHER)));
    for to in [service(cluster, "kubernetes", 443), others.api, daemon.port(DAEMON)] {
        assert!(pod.reaches(to), "{to}");
    }
    let metrics =
        cluster.run(&["exec", "--", "curl", "--silent", &format!("http://{}/metrics", pod.port(8080))]);
    let answered = "ostro_operator_daemon_requests_total{reply=\"answered\"} ";
    let count = metrics.lines().find_map(|line| line.strip_prefix(answered));
    assert!(count.is_some_and(|count| count != "0"), "{metrics}");
}

/// What was refused was so by the policy: it is not without one, and is again with one.
fn check_without(cluster: &Cluster, pod: &Network, others: &Others) {
    let _listener = pod.listen(OTHER);
    for is_enabled in [false, true] {
        let patch = json!({ "spec": { "networkPolicy": { "enabled": is_enabled } } });
        cluster.kubectl(&["patch", "infd/chat", "--type", "merge", "--patch", &patch.to_string()]);
        await_until("the policy to change", || {
            let ways = [others.peer.reaches(pod.port(OTHER)), pod.reaches(others.peer.port(OTHER))];
            ways == [!is_enabled; 2]
        });
    }
    await_ready(cluster, "chat");
}
