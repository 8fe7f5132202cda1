//! What a program that only downloads models tells of them meanwhile: `/v1/models`, as a server has it while models load.
//! None of them is ever loaded here, and nothing else is answered.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};

use crate::admission::Admission;
use crate::models::Progress;
use crate::openai::models::{ModelCard, ModelList, ModelStatus};
use crate::options::ServerOptions;
use crate::serve::{Port, answer_all};

/// Whoever watches a download needs few.
const CONNECTIONS_MAX: usize = 64;

/// The models, each with how far it has come; clones share them.
#[derive(Clone)]
pub struct Downloads {
    cards: Arc<Mutex<Vec<ModelCard>>>,
}

impl Downloads {
    pub fn new(ids: impl IntoIterator<Item = String>) -> Downloads {
        let created = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs());
        let card = |id| ModelCard {
            id,
            object: "model",
            created,
            owned_by: "ostro",
            status: ModelStatus::Loading,
            progress: Some(0.0),
            stage: Some("waiting".to_owned()),
            error: None,
            max_model_len: None,
            device: None,
            aliases: Vec::new(),
        };
        Downloads { cards: Arc::new(Mutex::new(ids.into_iter().map(card).collect())) }
    }

    /// Of the model with this number; one that is not there is ignored.
    pub fn tell(&self, number: usize, progress: &Progress) {
        if let Some(card) = self.cards().get_mut(number) {
            card.progress = Some(progress.fraction());
            card.stage = Some(progress.stage.to_string());
        }
    }

    /// Answers on this port, for ever.
    pub async fn serve(self, port: Port) {
        let router = Router::new()
            .route("/v1/models", get(list))
            .route("/health", get(|| std::future::ready("ok")))
            .fallback(|| std::future::ready(StatusCode::SERVICE_UNAVAILABLE))
            .with_state(self);
        let options = ServerOptions { connections_max: CONNECTIONS_MAX, ..ServerOptions::default() };
        answer_all(port, (router, Admission::new(CONNECTIONS_MAX)), &options).await;
    }

    fn cards(&self) -> MutexGuard<'_, Vec<ModelCard>> {
        self.cards.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn list(State(downloads): State<Downloads>) -> Json<ModelList> {
    Json(ModelList { object: "list", data: downloads.cards().clone() })
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn progress_is_told_and_nothing_is_ready() {
        let port = Port::open("127.0.0.1", 0).await.unwrap();
        let address = port.address();
        let downloads = Downloads::new(["a/b".to_owned(), "c".to_owned()]);
        downloads.tell(1, &Progress { stage: "download".into(), done: 3, total: 4 });
        downloads.tell(2, &Progress { stage: "download".into(), done: 3, total: 4 });
        let serving = tokio::spawn(downloads.serve(port));
        let ask = async |path: &str| {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            answer
        };
        let answer = ask("/v1/models").await;
        let body: Value = serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap();
        let told = |card: &Value| {
            format!("{} {} {} {}", card["id"], card["status"], card["stage"], card["progress"])
        };
        let cards: Vec<String> = body["data"].as_array().unwrap().iter().map(told).collect();
        assert_eq!(cards, [r#""a/b" "loading" "waiting" 0.0"#, r#""c" "loading" "download" 0.75"#]);
        assert!(ask("/health").await.starts_with("HTTP/1.1 200"));
        assert!(ask("/ready").await.starts_with("HTTP/1.1 503"));
        serving.abort();
    }
}
