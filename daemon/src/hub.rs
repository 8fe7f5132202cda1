//! How the model hub is reached, from configuration and environment.

use std::path::PathBuf;

use ostro_config::TokenSource;
use ostro_server::weights::{HubMode, HubOptions, HubToken};

use crate::environment::{Environment, Offline};
use crate::failure::Failure;

/// `cache` is the model's own cache folder, where one is configured.
pub(crate) fn hub_options(
    environment: &Environment,
    token_source: &TokenSource,
    cache: Option<PathBuf>,
) -> Result<HubOptions, Failure> {
    let mut options = HubOptions::new(&environment.hf_home);
    if let Some(endpoint) = &environment.hf_endpoint {
        options.endpoint = endpoint.clone();
    }
    options.cache = cache.or_else(|| environment.hf_cache.clone());
    options.token = token(environment, token_source)?;
    options.mode = match environment.hf_offline {
        Offline::Yes => HubMode::Offline,
        Offline::No => HubMode::Online,
    };
    Ok(options)
}

fn token(environment: &Environment, source: &TokenSource) -> Result<HubToken, Failure> {
    Ok(match source {
        TokenSource::Cache => environment.hf_token.clone().map_or(HubToken::Cached, HubToken::Literal),
        TokenSource::None => HubToken::None,
        TokenSource::Literal(token) => HubToken::Literal(token.clone()),
        TokenSource::Path(path) => HubToken::File(path.clone()),
        TokenSource::Env(name) => {
            let token = Environment::named(name);
            let missing =
                || Failure::Usage(format!("global.token_source = \"env:{name}\": {name} is not set"));
            HubToken::Literal(token.ok_or_else(missing)?)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_of_the_token_have_an_order() {
        let with = Environment { hf_token: Some("t".to_owned()), ..Environment::default() };
        let without = Environment::default();
        let literal = |text: &str| HubToken::Literal(text.to_owned());
        let cases = [
            (&with, TokenSource::Cache, literal("t")),
            (&without, TokenSource::Cache, HubToken::Cached),
            (&with, TokenSource::None, HubToken::None),
            (&with, TokenSource::Literal("own".to_owned()), literal("own")),
            (&with, TokenSource::Path(PathBuf::from("f")), HubToken::File(PathBuf::from("f"))),
        ];
        for (environment, source, expected) in cases {
            assert_eq!(token(environment, &source).unwrap(), expected, "{source:?}");
        }
        let missing = token(&without, &TokenSource::Env("OSTRO_TEST_NO_SUCH_VARIABLE".to_owned()));
        assert!(missing.unwrap_err().to_string().contains("OSTRO_TEST_NO_SUCH_VARIABLE is not set"));
    }

    #[test]
    fn environment_and_configuration_choose_the_cache() {
        let environment =
            Environment { hf_home: "h".into(), hf_cache: Some("c".into()), ..Environment::default() };
        let cache = |own: Option<&str>| {
            hub_options(&environment, &TokenSource::None, own.map(PathBuf::from)).unwrap().cache
        };
        assert_eq!((cache(None), cache(Some("own"))), (Some("c".into()), Some("own".into())));
    }
}
