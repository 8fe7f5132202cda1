//! The client beside a server of its own.

use std::convert::Infallible;
use std::future::pending;
use std::io::Write;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body as Answer;
use axum::http::{HeaderMap, Request, Response, StatusCode, Uri};
use axum::routing::{MethodRouter, get};
use futures::StreamExt;
use futures::future::join_all;
use http_body_util::BodyExt;
use jiff::Timestamp;
use ostro_exposition::Exposition;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Notify;

use super::*;
use crate::call_limit::LIMIT;
use crate::in_words::in_words;

const ANSWER_BYTES: usize = 4 << 20;
const PODS: &str = "/api/v1/pods";

/// A server with one path, below one of its own.
async fn serve(route: MethodRouter) -> Config {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/clusters/c", listener.local_addr().unwrap());
    let routes = Router::new().route(&format!("/clusters/c{PODS}"), route);
    tokio::spawn(async move { axum::serve(listener, routes).await });
    Config::new(url.parse().unwrap())
}

async fn answer(route: MethodRouter, metrics: &Metrics) -> Response<Body> {
    let client = client(serve(route).await, metrics).unwrap();
    client.send(Request::get(PODS).body(Body::empty()).unwrap()).await.unwrap()
}

fn get_of(path: &str) -> Request<Body> {
    Request::get(path).body(Body::empty()).unwrap()
}

/// An answer that begins, and does not end.
async fn endless() -> Answer {
    Answer::from_stream(futures::stream::pending::<Result<Vec<u8>, Infallible>>())
}

/// Lines of the log.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_try_that_fails_is_counted_and_told() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().json().with_writer(move || writer.clone()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let (metrics, is_second) = (Metrics::new(), Arc::new(AtomicBool::new(false)));
    let route = get(move || async move {
        match is_second.swap(true, Ordering::Relaxed) {
            false => StatusCode::SERVICE_UNAVAILABLE,
            true => StatusCode::OK,
        }
    });
    assert_eq!(answer(route, &metrics).await.status(), StatusCode::OK);
    let text = metrics.text(Exposition::Text);
    for code in ["503", "200"] {
        let sample = format!("{{verb=\"list\",group=\"\",resource=\"pods\",code=\"{code}\"}} 1");
        assert!(text.contains(&format!("ostro_operator_api_calls_total{sample}")), "{text}");
    }
    let bytes = log.0.lock().unwrap().clone();
    let lines: Vec<Value> = String::from_utf8(bytes)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .filter(|line: &Value| line["level"] == "WARN")
        .collect();
    let [line] = lines.as_slice() else { panic!("{lines:?}") };
    let message = "the API server failed to answer a call";
    let expected = json!({ "message": message, "method": "GET", "path": PODS, "status": 503 });
    assert_eq!(line["fields"], expected);
}

#[tokio::test]
async fn long_warnings_are_read() {
    let warning = "w".repeat(12 << 10);
    let sent = warning.clone();
    let answer = answer(get(|| async { [("warning", sent)] }), &Metrics::new()).await;
    assert_eq!(answer.headers()["warning"], warning);
}

#[tokio::test]
async fn a_long_answer_is_read_in_small_parts() {
    let route = get(|| async { vec![b' '; ANSWER_BYTES] });
    let mut body = answer(route, &Metrics::new()).await.into_body();
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        let part = frame.unwrap().into_data().unwrap().len();
        assert!(part <= READ_BYTES, "{part}");
        bytes += part;
    }
    assert_eq!(bytes, ANSWER_BYTES);
}

#[tokio::test]
async fn of_a_page_that_is_too_long_one_object_is_read_at_a_time() {
    let (metrics, longest) = (Metrics::new(), Arc::new(Mutex::new((0, 0))));
    let counts = longest.clone();
    // As long as the objects are asked for.
    let route = get(move |uri: Uri| async move {
        let limit: usize = uri.query().unwrap().strip_prefix("limit=").unwrap().parse().unwrap();
        let is_long = limit == 1;
        if is_long {
            let mut counts = counts.lock().unwrap();
            counts.0 += 1;
            counts.1 = counts.1.max(counts.0);
        }
        let parts = futures::stream::iter(0..limit).then(move |_| {
            let counts = counts.clone();
            async move {
                if is_long {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    counts.lock().unwrap().0 -= 1;
                }
                Ok::<_, Infallible>(vec![b' '; ANSWER_BYTES])
            }
        });
        Answer::from_stream(parts)
    });
    let client = client(serve(route).await, &metrics).unwrap();
    let list = |_| {
        let client = client.clone();
        async move {
            let request = Request::get(format!("{PODS}?limit=25")).body(Body::empty()).unwrap();
            client.send(request).await.unwrap().into_body().collect_bytes().await.unwrap().len()
        }
    };
    assert_eq!(join_all((0..4).map(list)).await, [ANSWER_BYTES; 4]);
    assert_eq!(*longest.lock().unwrap(), (0, 1));
    let sample = "{verb=\"list\",group=\"\",resource=\"pods\",code=\"200\"} 8";
    assert!(metrics.text(Exposition::Text).contains(sample));
}

#[tokio::test]
async fn a_page_that_is_short_is_read_as_it_is() {
    let route = get(|uri: Uri| async move { uri.query().unwrap().to_owned() });
    let client = client(serve(route).await, &Metrics::new()).unwrap();
    let request = Request::get(format!("{PODS}?limit=25")).body(Body::empty()).unwrap();
    let page = client.send(request).await.unwrap().into_body().collect_bytes().await.unwrap();
    assert_eq!(page, "limit=25");
}

#[tokio::test]
async fn a_proxy_is_not_passed_by_in_silence() {
    let mut config = Config::new("http://127.0.0.1".parse().unwrap());
    config.proxy_url = Some("http://proxy".parse().unwrap());
    assert!(client(config, &Metrics::new()).is_err());
}

/// The one thread renews the lease too.
#[tokio::test]
async fn a_credential_plugin_that_is_slow_holds_up_nothing_else() {
    let mut config =
        serve(get(|headers: HeaderMap| async move { headers["authorization"].to_str().unwrap().to_owned() }))
            .await;
    // It ends so soon that each call asks for another.
    let end = Timestamp::now() + Duration::from_secs(30);
    let status = json!({ "token": "t", "expirationTimestamp": end.to_string() });
    let script = format!("sleep 1; echo '{}'", json!({ "status": status }));
    let plugin = json!({ "command": "sh", "args": ["-c", script], "interactiveMode": "Never" });
    config.auth_info.exec = serde_json::from_value(plugin).unwrap();
    let client = client(config, &Metrics::new()).unwrap();
    let mut call = pin!(client.send(Request::get(PODS).body(Body::empty()).unwrap()));
    let mut ticks = 0;
    let answer = loop {
        tokio::select! {
            answer = &mut call => break answer.unwrap(),
            () = tokio::time::sleep(Duration::from_millis(10)) => ticks += 1,
        }
    };
    assert_eq!(answer.into_body().collect_bytes().await.unwrap(), "Bearer t");
    assert!(ticks > 5, "{ticks}");
}

#[tokio::test]
async fn a_call_without_an_answer_is_given_up() {
    let asked = Arc::new(Notify::new());
    let told = asked.clone();
    let silent = get(move || async move {
        told.notify_one();
        pending::<()>().await;
    });
    let client = client(serve(silent).await, &Metrics::new()).unwrap();
    let call = tokio::spawn(async move { client.send(get_of(PODS)).await.unwrap_err() });
    asked.notified().await;
    // From here on nothing but time passes.
    tokio::time::pause();
    let error = in_words(&call.await.unwrap());
    assert!(error.ends_with("the API server has not answered within 75 s"), "{error}");
}

#[tokio::test]
async fn a_call_whose_answer_does_not_end_is_given_up_and_a_watch_goes_on() {
    let client = client(serve(get(endless)).await, &Metrics::new()).unwrap();
    let list = client.send(get_of(PODS)).await.unwrap();
    let watch = client.send(get_of(&format!("{PODS}?watch=true"))).await.unwrap();
    tokio::time::pause();
    let error = in_words(&list.into_body().collect_bytes().await.unwrap_err());
    assert!(error.ends_with("the API server has not answered within 75 s"), "{error}");
    let events = watch.into_body().collect_bytes();
    assert!(tokio::time::timeout(LIMIT * 2, events).await.is_err());
}

/// By the kernel's list of connections: the timer of one that is idle is that of its next probe.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn connections_are_asked_whether_somebody_is_there() {
    let config = serve(get(endless)).await;
    let server = format!("0100007F:{:04X}", config.cluster_url.port_u16().unwrap());
    let client = client(config, &Metrics::new()).unwrap();
    let _watch = client.send(get_of(&format!("{PODS}?watch=true"))).await.unwrap();
    let connections = std::fs::read_to_string("/proc/self/net/tcp").unwrap();
    let fields = connections.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let ours: Vec<_> =
        fields.filter(|fields| fields[2] == server).map(|fields| fields[5].to_owned()).collect();
    assert!(ours.len() == 1 && ours[0].starts_with("02:"), "{ours:?}");
}
