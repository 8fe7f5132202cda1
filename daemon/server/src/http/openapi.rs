//! `GET /openapi.json`: generated from the wire types and the routes' annotations.

use axum::Json;
use axum::extract::State;
use utoipa::openapi::schema::{AllOfBuilder, Schema};
use utoipa::openapi::server::Server;
use utoipa::openapi::{Ref, RefOr};
use utoipa::{OpenApi, PartialSchema, ToSchema};

use super::{App, chat, completions, health, metrics, models, tokenize};
use crate::openai::chat::ChatFields;
use crate::openai::completion::CompletionFields;
use crate::openai::generation::GenerationFields;

#[derive(OpenApi)]
#[openapi(
    info(title = "Ostro", description = "Language models for OpenAI clients."),
    paths(
        chat::chat,
        completions::completions,
        models::list,
        models::retrieve,
        tokenize::tokenize,
        tokenize::detokenize,
        health::health,
        health::ready,
        metrics::metrics,
    )
)]
struct Document;

/// The document for routes under `base_path`.
pub fn document(base_path: &str) -> utoipa::openapi::OpenApi {
    let mut document = Document::openapi();
    if !base_path.is_empty() {
        document.servers = Some(vec![Server::new(base_path)]);
    }
    document
}

pub(super) async fn openapi(State(app): State<App>) -> Json<utoipa::openapi::OpenApi> {
    Json(document(&app.options.base_path))
}

/// Body of `/v1/chat/completions`: the fields of both structs in one object.
#[derive(Debug)]
pub(super) struct ChatBody;

/// Body of `/v1/completions`: the fields of both structs in one object.
#[derive(Debug)]
pub(super) struct CompletionBody;

macro_rules! body_schema {
    ($body:ty, $name:literal, $fields:ty) => {
        impl PartialSchema for $body {
            fn schema() -> RefOr<Schema> {
                both::<$fields>().into()
            }
        }

        impl ToSchema for $body {
            fn name() -> std::borrow::Cow<'static, str> {
                $name.into()
            }

            fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
                schemas.push((<$fields>::name().into_owned(), <$fields>::schema()));
                schemas.push((GenerationFields::name().into_owned(), GenerationFields::schema()));
                <$fields>::schemas(schemas);
                GenerationFields::schemas(schemas);
            }
        }
    };
}

body_schema!(ChatBody, "ChatRequest", ChatFields);
body_schema!(CompletionBody, "CompletionRequest", CompletionFields);

fn both<T: ToSchema>() -> Schema {
    let reference = |name: &str| Ref::from_schema_name(name);
    AllOfBuilder::new().item(reference(&T::name())).item(reference(&GenerationFields::name())).build().into()
}
