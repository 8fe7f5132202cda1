//! The server inside another application: the example, and the router builder's options.

#[path = "../../examples/embed.rs"]
#[allow(dead_code)]
mod example;

use axum::body::Body;
use axum::http::Request;
use ostro_server::{BuildError, RouterBuilder};
use serde_json::json;
use tower::ServiceExt;

use crate::fixture::{ANSWER, Answer, Fixture, chat, post};

async fn call(router: axum::Router, request: Request<Body>) -> Answer {
    let response = router.oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let bytes = http_body_util::BodyExt::collect(body).await.unwrap().to_bytes();
    Answer { status: parts.status, headers: parts.headers, text: String::from_utf8(bytes.to_vec()).unwrap() }
}

#[tokio::test]
async fn the_example_answers_beside_its_own_routes() {
    let server = Fixture::new().await;
    let app = example::app(server.models.clone()).unwrap();
    let get = |path: &str| Request::get(path).body(Body::empty()).unwrap();
    assert_eq!(call(app.clone(), get("/")).await.text, "My application");
    let body = chat(json!({})).to_string();
    let answer = call(app.clone(), post("/ai/v1/chat/completions", body)).await;
    assert_eq!(answer.json()["choices"][0]["message"]["content"], ANSWER);
    let missing = call(app.clone(), get("/ai/v1/nothing")).await;
    assert_eq!((missing.status.as_u16(), &missing.json()["error"]["code"]), (404, &json!("unknown_url")));
    assert_eq!(call(app.clone(), get("/ai/docs")).await.status, 200);
    assert!(call(app, get("/ai/metrics")).await.text.contains("path=\"/ai/v1/chat/completions\""));
}

#[tokio::test]
async fn a_base_path_is_before_every_route() {
    let server = Fixture::new().await;
    let router = RouterBuilder::new(server.models.clone()).base_path("/ai").body_limit(100).build().unwrap();
    let get = |path: &str| Request::get(path).body(Body::empty()).unwrap();
    assert_eq!(call(router.clone(), get("/ai/health")).await.status, 200);
    assert_eq!(call(router.clone(), get("/health")).await.status, 404);
    let missing = call(router.clone(), get("/ai/models")).await;
    assert!(missing.text.contains("did you mean /ai/v1/models?"), "{}", missing.text);
    let document = call(router.clone(), get("/ai/openapi.json")).await.json();
    assert_eq!(document["servers"], json!([{"url": "/ai"}]));
    assert_eq!(call(router, post("/ai/v1/chat/completions", "x".repeat(101))).await.status, 413);
}

#[tokio::test]
async fn options_that_cannot_be_honoured_are_refused_by_name() {
    let server = Fixture::new().await;
    let builder = || RouterBuilder::new(server.models.clone());
    let refused = |builder: RouterBuilder| builder.build().unwrap_err().to_string();
    assert_eq!(
        refused(builder().max_tool_rounds(3)),
        "the option max_tool_rounds is not supported by this build"
    );
    assert!(matches!(
        builder().tool_dispatch_url("http://x").build(),
        Err(BuildError::NotSupported { option: "tool_dispatch_url" })
    ));
    for path in ["ai", "/ai/", "/{x}", "/*x", "/ai/:v"] {
        assert!(refused(builder().base_path(path)).contains("the base path"), "{path}");
    }
    assert!(refused(builder().allowed_origins(["a\nb"])).contains("the allowed origin"));
}
