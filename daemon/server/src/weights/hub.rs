//! The hub over HTTP, as one repository's files are asked of it; what is wrong with an answer comes back as an error that a
//! person can act on. Writes nothing.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use hf_hub::{HFClient, HFError, split_id};
use reqwest::header::{AUTHORIZATION, CONTENT_LENGTH, ETAG, HeaderMap, HeaderValue, LOCATION, RANGE};
use reqwest::redirect::Policy;
use reqwest::{Client, Method, Response, Url};

use super::download::RemoteFile;
use super::names::{is_commit, is_content_id, is_inside};
use super::patience::{Patience, awaited};
use super::{HubOptions, HubToken, WeightsError};

/// A token that no header can hold is not sent. `hf-hub` cannot be told that there is none: it would
/// look for one in the environment.
const NO_TOKEN: &str = "\n";
const REDIRECTS_MAX: usize = 5;
const TOKEN_BYTES_MAX: u64 = 64 * 1024;

/// The hub as one repository's files are asked of it.
pub(super) struct Hub<'a> {
    model: &'a str,
    /// For words.
    endpoint: String,
    base: Url,
    token: Option<String>,
    api: HFClient,
    /// Follows redirects.
    transfers: Client,
    /// Does not: the answer that describes a file is the one before the redirect to its storage.
    descriptions: Client,
}

impl<'a> Hub<'a> {
    pub(super) fn new(
        model: &'a str,
        options: &'a HubOptions,
        patience: &Patience,
    ) -> Result<Self, WeightsError> {
        let endpoint = options.endpoint.trim_end_matches('/');
        let base = Url::parse(endpoint).ok().filter(|url| !url.cannot_be_a_base());
        let base = base.ok_or_else(|| WeightsError::Endpoint(without_credentials(&options.endpoint)))?;
        let token = read_token(options)?;
        let network = |source: Box<dyn std::error::Error + Send + Sync>| WeightsError::Network {
            model: model.to_owned(),
            source,
        };
        let client = |redirects: Policy, silence: Duration| {
            Client::builder()
                .user_agent(concat!("ostro/", env!("CARGO_PKG_VERSION")))
                .connect_timeout(patience.connect.min(options.idle_timeout))
                .read_timeout(silence)
                .redirect(redirects)
                .build()
                .map_err(|error| network(error.into()))
        };
        let silence = patience.silence.min(options.idle_timeout);
        let api = HFClient::builder()
            .endpoint(endpoint)
            .token(token.as_deref().unwrap_or(NO_TOKEN))
            .cache_dir(options.cache_folder())
            .client(client(Policy::limited(REDIRECTS_MAX), silence)?)
            .retry_max_attempts(options.retries.min(patience.retries) as usize)
            .retry_base_delay(options.retry_delay)
            .build()
            .map_err(|error| network(error.into()))?;
        let transfers = client(Policy::limited(REDIRECTS_MAX), options.idle_timeout)?;
        let descriptions = client(Policy::none(), options.idle_timeout)?;
        let endpoint = without_credentials(endpoint);
        Ok(Hub { model, endpoint, base, token, api, transfers, descriptions })
    }

    pub(super) fn model(&self) -> &str {
        self.model
    }

    /// Commit and file names of a revision.
    pub(super) async fn listing(&self, revision: &str) -> Result<(String, Vec<String>), WeightsError> {
        let (owner, name) = split_id(self.model);
        let repository = self.api.model(owner, name);
        let info = awaited(&self.endpoint, repository.info().revision(revision).send()).await;
        let info = info.map_err(|error| self.api_error(error, revision))?;
        let commit = info.sha.filter(|sha| is_commit(sha)).ok_or_else(|| self.malformed("no commit"))?;
        let names = info.siblings.unwrap_or_default().into_iter().map(|sibling| sibling.rfilename);
        Ok((commit, names.filter(|name| is_inside(name)).collect()))
    }

    /// Size and content id of a file.
    pub(super) async fn describe(&self, commit: &str, file: &str) -> Result<RemoteFile, WeightsError> {
        let mut url = self.url(commit, file);
        for _ in 0..REDIRECTS_MAX {
            let request = self.descriptions.request(Method::HEAD, url.clone()).headers(self.headers());
            let response = request.send().await.map_err(|error| self.network(error))?;
            // Within the hub (a renamed repository) follow; to the storage do not.
            let location = response.headers().get(LOCATION).and_then(|location| location.to_str().ok());
            if let Some(location) = location.filter(|location| location.starts_with('/')) {
                let next = url.join(location).map_err(|_| self.malformed("a redirect to nowhere"))?;
                // `//host/…` is elsewhere, where no token may go.
                if next.origin() == url.origin() {
                    url = next;
                    continue;
                }
            }
            if !response.status().is_redirection() && !response.status().is_success() {
                return Err(self.status_error(response, file).await);
            }
            return self.remote_file(file, response.headers());
        }
        Err(self.malformed("too many redirects"))
    }

    fn remote_file(&self, file: &str, headers: &HeaderMap) -> Result<RemoteFile, WeightsError> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let id = text("x-linked-etag").or_else(|| text(ETAG.as_str()));
        let id = id.map(|id| id.trim_start_matches("W/").trim_matches('"')).filter(|id| is_content_id(id));
        let size = text("x-linked-size").or_else(|| text(CONTENT_LENGTH.as_str()));
        let size = size.and_then(|size| size.parse().ok());
        match (id, size) {
            (Some(id), Some(bytes)) => Ok(RemoteFile { name: file.to_owned(), id: id.to_owned(), bytes }),
            _ => Err(self.malformed(&format!("{file} has no ETag or no length"))),
        }
    }

    /// The file's bytes from `begin` on; the status says whether the server obeyed.
    pub(super) async fn bytes(&self, commit: &str, file: &str, begin: u64) -> Result<Response, WeightsError> {
        let mut request = self.transfers.get(self.url(commit, file)).headers(self.headers());
        if begin > 0 {
            request = request.header(RANGE, format!("bytes={begin}-"));
        }
        let response = request.send().await.map_err(|error| self.network(error))?;
        match response.status().as_u16() {
            200 | 206 | 416 => Ok(response),
            _ => Err(self.status_error(response, file).await),
        }
    }

    fn url(&self, commit: &str, file: &str) -> Url {
        let mut url = self.base.clone();
        let parts = self.model.split('/').chain(["resolve", commit]).chain(file.split('/'));
        url.path_segments_mut().expect("checked to be a base").pop_if_empty().extend(parts);
        url
    }

    fn headers(&self) -> HeaderMap {
        let value =
            self.token.as_ref().and_then(|token| HeaderValue::try_from(format!("Bearer {token}")).ok());
        value.into_iter().map(|value| (AUTHORIZATION, value)).collect()
    }

    pub(super) fn network(&self, source: reqwest::Error) -> WeightsError {
        WeightsError::Network { model: self.model.to_owned(), source: source.into() }
    }

    pub(super) fn cut_short(&self, file: &str) -> WeightsError {
        let source = format!("{file} broke off").into();
        WeightsError::Network { model: self.model.to_owned(), source }
    }

    pub(super) fn malformed(&self, what: &str) -> WeightsError {
        WeightsError::Malformed { model: self.model.to_owned(), what: what.to_owned() }
    }

    async fn status_error(&self, response: Response, file: &str) -> WeightsError {
        let text = |name: &str| {
            response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
        };
        let (status, code) = (response.status().as_u16(), text("x-error-code"));
        let message = text("x-error-message").unwrap_or_else(|| file.to_owned());
        self.refusal(status, code.as_deref(), message)
    }

    /// The hub answers 401 for what does not exist too, and tells by a code which it is.
    fn refusal(&self, status: u16, code: Option<&str>, message: String) -> WeightsError {
        let model = self.model.to_owned();
        let (endpoint, has_token) = (self.endpoint.clone(), self.token.is_some());
        match (status, code) {
            (_, Some("GatedRepo")) => WeightsError::Gated { page: format!("{endpoint}/{model}"), model },
            (401 | 404, Some("RepoNotFound")) => WeightsError::NotFound { model, endpoint, has_token },
            (401 | 403, _) => WeightsError::Unauthorised { model, endpoint, has_token },
            (404, None) => WeightsError::NotFound { model, endpoint, has_token },
            _ => WeightsError::Status { model, status, message },
        }
    }

    fn api_error(&self, error: HFError, revision: &str) -> WeightsError {
        let context = match error {
            HFError::Http { context }
            | HFError::AuthRequired { context }
            | HFError::Forbidden { context }
            | HFError::RateLimited { context, .. } => Some(context),
            HFError::RepoNotFound { context, .. } | HFError::RevisionNotFound { context, .. } => context,
            HFError::Request { source, .. } if !source.is_decode() => return self.network(source),
            other => return self.malformed(&other.to_string()),
        };
        let (status, code, message) = match context {
            Some(context) => {
                (context.status.as_u16(), context.error_code, context.server_message.unwrap_or_default())
            }
            None => (404, None, String::new()),
        };
        if code.as_deref() == Some("RevisionNotFound") {
            return WeightsError::RevisionNotFound {
                model: self.model.to_owned(),
                revision: revision.to_owned(),
            };
        }
        self.refusal(status, code.as_deref(), message)
    }
}

/// The address of a hub for people: without name and password, where it has such.
pub fn without_credentials(address: &str) -> String {
    let Some(mut url) = Url::parse(address).ok().filter(Url::has_host) else {
        // No address: what stands before the sign may be anything.
        return address.rsplit_once('@').map_or(address, |(_, rest)| rest).to_owned();
    };
    if url.username().is_empty() && url.password().is_none() {
        return address.to_owned();
    }
    // Only what has no host refuses.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.as_str().trim_end_matches('/').to_owned()
}

/// A text of a line, of a file that may be a device, whose end never comes.
fn read_short(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(TOKEN_BYTES_MAX + 1).read_to_string(&mut text)?;
    match text.len() as u64 > TOKEN_BYTES_MAX {
        true => Err(io::Error::other(format!("it is longer than {TOKEN_BYTES_MAX} bytes"))),
        false => Ok(text),
    }
}

fn read_token(options: &HubOptions) -> Result<Option<String>, WeightsError> {
    let read = |path: PathBuf| match read_short(&path) {
        Ok(token) => Ok(Some(token)),
        Err(source) => Err(WeightsError::Token { path, source }),
    };
    let token = match &options.token {
        HubToken::None => None,
        HubToken::Literal(token) => Some(token.clone()),
        HubToken::File(path) => read(path.clone())?,
        HubToken::Cached => {
            let path = options.home.join("token");
            if path.exists() { read(path)? } else { None }
        }
    };
    Ok(token.map(|token| token.trim().to_owned()).filter(|token| !token.is_empty()))
}
