//! Routes, and what surrounds them.

mod body;
mod chat;
mod completions;
mod docs;
mod error;
mod event;
mod health;
mod metrics;
mod models;
mod openapi;
mod request_id;
mod router;
mod stream;
mod tokenize;
mod track;

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::admission::{Admission, Load, Permit, busy};
use crate::error::ApiError;
use crate::metrics::Metrics;
use crate::models::{LoadedModel, Model, Models};
use crate::options::RouterOptions;
use crate::payload_log::PayloadLog;

pub use openapi::document;
pub use router::RouterError;
pub(crate) use router::router;
use track::Tracked;

/// Sent with every answer.
const SYSTEM_FINGERPRINT: &str = concat!("ostro-", env!("CARGO_PKG_VERSION"));

/// What every handler shares.
pub(crate) struct AppState {
    pub models: Models,
    pub admission: Admission,
    pub metrics: Metrics,
    pub options: RouterOptions,
    pub payload_log: Option<PayloadLog>,
    /// KiB that request bodies may still take.
    pub(crate) body_memory: Arc<Semaphore>,
}

pub(crate) type App = Arc<AppState>;

impl AppState {
    /// The model that a request names, once it is loaded, and a place to prepare the request in, where the model has room
    /// for so many sequences.
    async fn enter(
        &self,
        name: Option<&str>,
        sequences: usize,
        tracked: &Tracked,
    ) -> Result<(LoadedModel, Permit), ApiError> {
        let model = self.resolve(name, tracked)?;
        let loaded = tokio::select! {
            biased;
            loaded = model.ready(self.options.load_wait) => loaded?,
            () = self.admission.leaving() => return Err(ApiError::ShuttingDown),
        };
        let stats = loaded.engine.stats();
        let load = Load { running: stats.sequences_running, waiting: stats.sequences_waiting };
        let permit = self.admission.try_enter(load)?;
        if !loaded.engine.has_room(sequences) {
            return Err(busy(load));
        }
        Ok((loaded, permit))
    }

    fn resolve(&self, name: Option<&str>, tracked: &Tracked) -> Result<&Arc<Model>, ApiError> {
        let model = self.models.resolve(name);
        tracked.set_model(model.as_ref().map_or(track::UNKNOWN_MODEL, |model| &model.id));
        model
    }
}
