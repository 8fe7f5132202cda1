//! Any bytes as the body of any route: refused in few words, or accepted within the documented bounds.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ostro_server::error::ApiError;
use ostro_server::openai::tokenize::{DetokenizeRequest, TokenizeRequest};
use ostro_server::validate::{self, SamplingDefaults, ValidGeneration};

fuzz_target!(|body: &[u8]| {
    match validate::chat(body) {
        Ok(chat) => {
            assert!(!chat.messages.is_empty());
            check(&chat.generation);
        }
        Err(error) => refused(&error),
    }
    match validate::completion(body) {
        Ok(completion) => {
            assert!(!completion.prompts.is_empty());
            check(&completion.generation);
        }
        Err(error) => refused(&error),
    }
    if let Err(error) = validate::read::<TokenizeRequest>(body) {
        refused(&error);
    }
    if let Err(error) = validate::read::<DetokenizeRequest>(body) {
        refused(&error);
    }
});

fn check(generation: &ValidGeneration) {
    assert!((1..=128).contains(&generation.n));
    assert!(generation.stop.max_tokens >= 1 && generation.stop.min_tokens <= generation.stop.max_tokens);
    let sampling = generation.sampling(0, &SamplingDefaults::default());
    assert!((0.0..=2.0).contains(&sampling.temperature));
    assert!(sampling.top_p > 0.0 && sampling.top_p <= 1.0 && (0.0..=1.0).contains(&sampling.min_p));
    assert!(generation.logit_bias().all(|(_, bias)| (-100.0..=100.0).contains(&bias)));
}

fn refused(error: &ApiError) {
    assert!(!error.to_string().is_empty() && error.to_string().len() < 1024);
}
