//! A model inside your own axum application, under `/ai`.
//!
//! ```sh
//! cargo run --release -p ostro-server --example embed -- model.gguf
//! curl http://127.0.0.1:3000/ai/v1/models
//! ```

use anyhow::Context;
use axum::Router;
use axum::routing::get;
use ostro_server::{EngineBuilder, Models, RouterBuilder};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let path = std::env::args().nth(1).context("give the path of a model")?;
    let models = EngineBuilder::new().model(path).build().await?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    println!("http://{}/ai/v1", listener.local_addr()?);
    axum::serve(listener, app(models)?).await?;
    Ok(())
}

/// Your routes, and the model's beside them.
pub fn app(models: Models) -> anyhow::Result<Router> {
    let model = RouterBuilder::new(models).build()?;
    Ok(Router::new().route("/", get(|| async { "My application" })).nest("/ai", model))
}
