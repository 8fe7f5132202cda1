use super::*;
use crate::http;

/// `a/b` and the gated `a/c` of one file, as long as the process lives.
fn start(token: Option<&str>) -> (String, String) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("config.json"), "0123456789").unwrap();
    std::fs::write(folder.path().join(".complete"), "").unwrap();
    let models = ["a/b", "a/c"].map(|id| (id.to_owned(), folder.path().to_owned())).to_vec();
    let listen = "127.0.0.1:0".parse().unwrap();
    let token = token.map(str::to_owned);
    let hub = Hub::load(&Serve { listen, models, gated: vec!["a/c".to_owned()], token }).unwrap();
    let commit = hub.repositories["a/b"].commit.clone();
    let listener = std::net::TcpListener::bind(listen).unwrap();
    listener.set_nonblocking(true).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            axum::serve(TcpListener::from_std(listener).unwrap(), router(hub)).await.unwrap();
        });
    });
    (url, commit)
}

/// Status, `x-error-code` and text.
fn ask(url: &str, headers: &[(&str, &str)]) -> (u16, String, String) {
    let request = headers.iter().fold(http::get(url), |request, (name, value)| request.header(*name, *value));
    let mut response = request.config().http_status_as_error(false).build().call().unwrap();
    let code = response.headers().get("x-error-code").map(|code| code.to_str().unwrap().to_owned());
    let text = response.body_mut().read_to_string().unwrap();
    (response.status().as_u16(), code.unwrap_or_default(), text)
}

#[test]
fn files_come_whole_or_from_where_a_range_begins() {
    let (url, commit) = start(None);
    let (_, _, listing) = ask(&format!("{url}/api/models/a/b/revision/main"), &[]);
    let listing: serde_json::Value = serde_json::from_str(&listing).unwrap();
    assert_eq!(listing["siblings"], json!([{ "rfilename": "config.json" }]));
    assert_eq!((listing["sha"].as_str(), commit.len()), (Some(commit.as_str()), 40));
    let file = format!("{url}/a/b/resolve/{commit}/config.json");
    assert_eq!(ask(&file, &[]), (200, String::new(), "0123456789".to_owned()));
    assert_eq!(ask(&file, &[("range", "bytes=7-")]), (206, String::new(), "789".to_owned()));
    assert_eq!(ask(&file, &[("range", "bytes=10-")]).0, 416);
    let head = http::agent().head(&file).call().unwrap();
    assert_eq!(head.headers()["content-length"], "10");
    assert_eq!(head.headers()["etag"].len(), 66);
}

#[test]
fn it_refuses_as_the_hub_does() {
    let (url, commit) = start(Some("right"));
    let [gated, none] = [format!("a/c/resolve/{commit}/config.json"), format!("a/b/resolve/{commit}/none")];
    for (path, token, status, code) in [
        ("api/models/a/b/revision/main", "right", 200, ""),
        ("api/models/a/b/revision/main", "wrong", 401, ""),
        ("api/models/a/x/revision/main", "right", 404, "RepoNotFound"),
        ("api/models/a/c/revision/main", "right", 200, ""),
        (gated.as_str(), "right", 403, "GatedRepo"),
        (none.as_str(), "right", 404, "EntryNotFound"),
        ("a/b/resolve/other/config.json", "right", 404, "RevisionNotFound"),
    ] {
        let token = format!("Bearer {token}");
        let (found, found_code, _) = ask(&format!("{url}/{path}"), &[("authorization", &token)]);
        assert_eq!((found, found_code.as_str()), (status, code), "{path}");
    }
    let (status, code, _) = ask(&format!("{url}/api/models/a/x/revision/main"), &[]);
    assert_eq!((status, code.as_str()), (401, "RepoNotFound"));
}

#[test]
fn what_is_gated_is_served() {
    let folder = tempfile::tempdir().unwrap();
    let models = vec![("a/c".to_owned(), folder.path().to_owned())];
    let gated = vec!["a/C".to_owned()];
    let options = Serve { listen: "127.0.0.1:0".parse().unwrap(), models, gated, token: None };
    let error = Hub::load(&options).err().unwrap().to_string();
    assert!(error.contains("a/C"), "{error}");
}

#[test]
fn a_model_is_an_id_and_a_folder() {
    assert_eq!(parse_model("a/b=/c=d"), Ok(("a/b".to_owned(), PathBuf::from("/c=d"))));
    for bad in ["a/b", "a=/c", "a/b/c=/d", "/b=/c"] {
        assert!(parse_model(bad).is_err(), "{bad}");
    }
}
