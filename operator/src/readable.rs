//! Lists of what strangers may have written, or labelled: an item that cannot be read is left out, and hides no other.

use std::fmt::Debug;

use kube::Client;
use kube::api::{ListParams, ObjectList, Request};
use ostro_json::Readable;
use serde::de::DeserializeOwned;

/// Of all pages.
///
/// # Errors
/// Those of the API server.
pub(crate) async fn list_readable<K>(
    client: &Client,
    url: &str,
    mut parameters: ListParams,
) -> kube::Result<Vec<K>>
where
    K: Clone + Debug + DeserializeOwned,
{
    let mut found = Vec::new();
    loop {
        let request = Request::new(url).list(&parameters).map_err(kube::Error::BuildRequest)?;
        let page: ObjectList<Readable<K>> = client.request(request).await?;
        found.extend(page.items.into_iter().filter_map(|Readable(item)| item));
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => parameters = parameters.continue_token(&token),
            None => return Ok(found),
        }
    }
}
