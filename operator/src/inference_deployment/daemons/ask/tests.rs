use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

/// A server that answers whatever it is asked by these bytes, and then ends the connection; it says what it was asked.
async fn server(host: &str, answer: Vec<u8>) -> (SocketAddr, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind((host, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let asked = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(stream.read_u8().await.unwrap());
        }
        // Who has seen enough leaves before the end.
        let _ = stream.write_all(&answer).await;
        String::from_utf8(request).unwrap()
    });
    (address, asked)
}

fn answer(status: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

fn ids(ids: &[&str]) -> Vec<String> {
    ids.iter().map(|id| (*id).to_owned()).collect()
}

#[tokio::test]
async fn a_daemon_says_what_it_has_loaded() {
    let long = format!("cannot load e: {}\n  do y", "é".repeat(2000));
    let list = json!({ "object": "list", "data": [
        { "id": "a/b", "object": "model", "status": "loading", "stage": "download", "progress": 0.578, "aliases": [] },
        { "id": "c", "status": "loaded", "max_model_len": 4096, "aliases": ["/models/c.gguf"] },
        { "id": "d", "status": "failed", "error": "cannot\nread\u{1b}[2J  d\u{202e}" },
        { "id": "e", "status": "failed", "error": long },
        { "id": "f", "status": "sleeping" },
        { "id": "g", "status": "loading", "stage": "waiting\u{9b}", "progress": 0.0 },
        { "id": "another", "status": "loaded" },
    ] });
    let (address, asked) = server("127.0.0.1", answer("200 OK", &list.to_string())).await;
    let wanted = ids(&["/models/c.gguf", "a/b", "d", "e", "f", "g", "missing"]);
    let told = ask(&dial(), address, &wanted).await.unwrap();
    // Of 1,024 bytes.
    let short = format!("cannot load e: {}…{} do y", "é".repeat(247), "é".repeat(252));
    let expected = [
        ("/models/c.gguf", Some(ModelState::Loaded), None),
        ("a/b", Some(ModelState::Loading), Some("download, 50 %")),
        ("d", Some(ModelState::Failed), Some("cannot read [2J d")),
        ("e", Some(ModelState::Failed), Some(short.as_str())),
        ("f", None, None),
        ("g", Some(ModelState::Loading), Some("waiting")),
    ];
    let expected = expected.map(|(id, state, message)| Told {
        id: id.to_owned(),
        state,
        message: message.map(str::to_owned),
    });
    assert_eq!(told, expected);
    assert_eq!(asked.await.unwrap(), format!("GET /v1/models HTTP/1.1\r\nhost: {address}\r\n\r\n"));
}

#[tokio::test]
async fn daemons_with_ipv6_addresses_are_asked() {
    let (address, asked) = server("::1", answer("200 OK", r#"{"data":[]}"#)).await;
    assert_eq!(ask(&dial(), address, &ids(&["a"])).await.unwrap(), []);
    assert!(asked.await.unwrap().contains(&format!("host: [::1]:{}\r\n", address.port())));
}

#[tokio::test]
async fn what_is_no_list_of_models_is_no_answer() {
    type Expected = fn(&AskError) -> bool;
    let too_much = format!(r#"{{"data":[],"more":"{}"}}"#, "x".repeat(1 << 16));
    let endless = [b"HTTP/1.1 200 OK\r\n\r\n".as_slice(), &vec![b' '; 1 << 20]].concat();
    let redirection =
        b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1/\r\ncontent-length: 0\r\n\r\n".to_vec();
    let cases: [(&str, Vec<u8>, Expected); 9] = [
        ("no HTTP", b"hello\r\n\r\n".to_vec(), |error| matches!(error, AskError::Exchange(_))),
        ("nothing", Vec::new(), |error| matches!(error, AskError::Exchange(_))),
        ("another status", answer("404 Not Found", "{}"), |error| matches!(error, AskError::Status(_))),
        ("a redirection", redirection, |error| matches!(error, AskError::Status(_))),
        ("no JSON", answer("200 OK", "<html>"), |error| matches!(error, AskError::List(_))),
        ("another JSON", answer("200 OK", r#"{"data":[{"id":1}]}"#), |error| {
            matches!(error, AskError::List(_))
        }),
        ("too much", answer("200 OK", &too_much), |error| matches!(error, AskError::Body(_))),
        ("no end", endless, |error| matches!(error, AskError::Body(_))),
        ("a part", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{".to_vec(), |error| {
            matches!(error, AskError::Body(_))
        }),
    ];
    for (name, bytes, is_expected) in cases {
        let (address, _asked) = server("127.0.0.1", bytes).await;
        let error = ask(&dial(), address, &ids(&["a"])).await.unwrap_err();
        assert!(is_expected(&error), "{name}: {error:?}");
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let error = ask(&dial(), address, &ids(&["a"])).await.unwrap_err();
    assert!(matches!(error, AskError::Dial(_)), "{error:?}");
}
