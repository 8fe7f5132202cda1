//! Bodies that are almost right: every one is refused in few words or accepted, none ends in a panic.
//!
//! The fuzz target `request_bodies` does the same with coverage; this runs with every test.

use super::{chat, completion, read};
use crate::error::ApiError;
use crate::openai::tokenize::{DetokenizeRequest, TokenizeRequest};

const BODIES: [&str; 5] = [
    r#"{"model":"default","messages":[{"role":"system","content":"é"},{"role":"user","content":[{"type":"text",
        "text":"a\n\u00e9"}],"name":null}],"temperature":0.5,"top_p":1,"top_k":-1,"logprobs":true,"top_logprobs":3,
        "logit_bias":{"12":-1.5e1},"stop":["a","b"],"stream":true,"stream_options":{"include_usage":true}}"#,
    r#"{"messages":"Hi","seed":-9223372036854775808,"n":128,"max_tokens":4294967295,"stop":"x","min_p":0.1,
        "tools":[],"response_format":{"type":"text"},"chat_template_kwargs":{"a":[1,{"b":null}]},"metadata":{"x":"y"}}"#,
    r#"{"prompt":["a","b"],"echo":true,"best_of":1,"dry_multiplier":1,"dry_sequence_breakers":["\n"],"suffix":""}"#,
    r#"{"prompt":[[1,2],[3]],"logprobs":5,"min_tokens":2,"stop_token_ids":[0,4294967295],"cache_salt":"s"}"#,
    r#"{"tokens":[1,2,3],"model":"m","add_special_tokens":false}"#,
];
const PIECES: [&str; 16] = [
    "null",
    "[]",
    "{}",
    "\"",
    "\\u",
    "\\ud800",
    "1e999",
    "-",
    "18446744073709551616",
    ",",
    ":",
    "[",
    "{",
    "true",
    "\"n\":1,",
    "\u{0}",
];

/// xorshift64*: the same bodies every time.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % limit.max(1)
    }

    fn mutate(&mut self, body: &mut Vec<u8>) {
        let at = self.below(body.len());
        let end = (at + 1 + self.below(12)).min(body.len());
        match self.below(5) {
            0 if at < body.len() => body[at] ^= 1 << self.below(8),
            1 => drop(body.drain(at..end)),
            2 => {
                let copy = body[at..end].to_vec();
                let to = self.below(body.len());
                body.splice(to..to, copy);
            }
            3 => body.truncate(at),
            _ => drop(body.splice(at..end.min(at + 2), PIECES[self.below(PIECES.len())].bytes())),
        }
    }
}

#[test]
fn almost_right_bodies_never_panic() {
    let mut random = Random(42);
    let (mut accepted, mut refused) = (0, 0);
    for round in 0..40_000 {
        let mut body = BODIES[round % BODIES.len()].as_bytes().to_vec();
        for _ in 0..random.below(4) {
            random.mutate(&mut body);
        }
        let verdicts: [Result<(), ApiError>; 4] = [
            chat(&body).map(drop),
            completion(&body).map(drop),
            read::<TokenizeRequest>(&body).map(drop),
            read::<DetokenizeRequest>(&body).map(drop),
        ];
        for verdict in verdicts {
            match verdict {
                Ok(()) => accepted += 1,
                Err(error) => {
                    refused += 1;
                    let length = error.to_string().len();
                    assert!((1..1024).contains(&length), "{length}: {}", String::from_utf8_lossy(&body));
                }
            }
        }
    }
    assert!(accepted > 5_000 && refused > 5_000, "{accepted} accepted, {refused} refused");
}
