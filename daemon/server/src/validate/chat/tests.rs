//! Input to verdict, as a table.

use super::*;
use crate::validate::SamplingDefaults;

fn with(field: &str, value: &str) -> String {
    format!(r#"{{"messages":[{{"role":"user","content":"x"}}],"{field}":{value}}}"#)
}

fn param(body: &str) -> (Option<String>, String) {
    match chat(body.as_bytes()) {
        Err(ApiError::Invalid { param, message }) => (param, message),
        Err(ApiError::Unsupported { param, message }) => (Some(param), message),
        other => panic!("{body}: {other:?}"),
    }
}

#[test]
fn values_out_of_bounds_name_their_field() {
    let cases = [
        ("temperature", "3", "temperature = 3 is not in 0..=2"),
        ("temperature", "-0.1", "is not in 0..=2"),
        ("temperature", "1e300", "temperature = 1e300 is not in 0..=2"),
        ("temperature", "-1e-320", "temperature = -1e-320 is not in 0..=2"),
        ("temperature", "1e999", "number out of range"),
        ("temperature", "\"hot\"", "temperature: invalid type: string \"hot\""),
        ("top_p", "0", "top_p = 0 is not above 0 and at most 1"),
        ("top_p", "1.01", "is not above 0 and at most 1"),
        ("top_k", "-2", "is not -1 or in"),
        ("min_p", "1.5", "is not in 0..=1"),
        ("repetition_penalty", "0", "is not in 0.01..=10"),
        ("presence_penalty", "-2.5", "is not in -2..=2"),
        ("frequency_penalty", "5", "is not in -2..=2"),
        ("n", "0", "n = 0 is not in 1..=128"),
        ("n", "1000000", "is not in 1..=128"),
        ("n", "1.5", "n: invalid type: floating point"),
        ("max_tokens", "0", "must be at least 1"),
        ("max_tokens", "-1", "max_tokens: invalid value"),
        ("max_tokens", "18446744073709551615", "is not in 1..=4294967295"),
        ("max_completion_tokens", "0", "must be at least 1"),
        ("stop", "[\"\"]", "must not be empty"),
        ("stop", "1", "expected a string or an array"),
        ("logit_bias", "{\"1\":101}", "bias 101 of token 1 is not in -100..=100"),
        ("logit_bias", "{\"1\":1e300}", "bias 1e300 of token 1 is not in -100..=100"),
        ("logit_bias", "{\"x\":1}", "is not a token id"),
        ("logit_bias", "[1]", "invalid type"),
        ("seed", "1.5", "invalid type"),
        ("stream", "\"yes\"", "expected a boolean"),
        ("stream_options", "{\"include_usage\":true}", "needs stream = true"),
        ("top_logprobs", "21", "is not in 0..=20"),
        ("top_logprobs", "5", "needs logprobs = true"),
        ("reasoning_effort", "\"huge\"", "unknown variant"),
        ("dry_base", "0.5", "is not in 1..=8"),
        ("min_tokens", "5000000000", "is above"),
        ("response_format", "{\"type\":\"json_object\"}", "not supported by this build"),
        ("tools", "[{\"type\":\"function\"}]", "not supported by this build"),
        ("temprature", "1", "did you mean \"temperature\""),
    ];
    for (field, value, message) in cases {
        let (at, said) = param(&with(field, value));
        assert_eq!(
            at.as_deref().map(|at| at.starts_with(field)),
            Some(true),
            "{field} = {value}: {at:?} {said}"
        );
        assert!(said.contains(message), "{field} = {value}: {said}");
    }
}

#[test]
fn messages_are_checked_by_place() {
    let cases = [
        (r#"{}"#, "messages"),
        (r#"{"messages":[]}"#, "messages"),
        (r#"{"messages":{"role":"user"}}"#, "messages"),
        (r#"{"messages":[{"role":"emperor","content":"x"}]}"#, "messages[0].role"),
        (r#"{"messages":[{"role":"user","content":7}]}"#, "messages[0].content"),
        (r#"{"messages":[{"role":"user","contents":"x"}]}"#, "messages[0]"),
        (r#"{"messages":[{"role":"user","content":"x","type":"image"}]}"#, "messages[0].type"),
        (r#"{"messages":[{"role":"user","role":"user","content":"x"}]}"#, "messages[0]"),
    ];
    for (body, expected) in cases {
        let (at, said) = param(body);
        assert!(at.as_deref().unwrap_or_default().starts_with(expected), "{body}: {at:?} {said}");
    }
}

#[test]
fn hostile_bodies_are_refused_in_few_words() {
    let deep = |open: &str, close: &str| {
        format!(r#"{{"messages":{}{}}}"#, open.repeat(100_000), close.repeat(100_000)).into_bytes()
    };
    let stops = with("stop", &format!("[{}]", vec!["\"xxxxxxxxxx\""; 100_000].join(",")));
    let stop = with("stop", &format!("\"{}\"", "x".repeat(1 << 20)));
    let keys: String = (0..100_000).map(|i| format!(r#""k{i}":1,"#)).collect();
    let keys = format!("{{{keys}}}");
    let bodies: [&[u8]; 14] = [
        b"" as &[u8],
        b"hello",
        b"\"string\"",
        b"null",
        &deep("[", "]"),
        &deep("{\"a\":", "}"),
        b"{\"messages\":[{\"role\":\"user\",\"content\":\"\xff\xfe\"}]}",
        br#"{"messages":[{"role":"user","content":"\ud800"}]}"#,
        br#"{"messages":[{"role":"user","content":"Hi"#,
        br#"{"messages":[],"messages":[{"role":"user","content":"x"}],"n":1,"n":2}"#,
        stops.as_bytes(),
        stop.as_bytes(),
        format!("{{{keys}}}").as_bytes(),
        &[b'['; 1 << 20],
    ]
    .map(|body| Box::leak(body.to_vec().into_boxed_slice()) as &[u8]);
    for body in bodies {
        let error = chat(body).expect_err("refused");
        let shown = String::from_utf8_lossy(&body[..body.len().min(40)]).into_owned();
        assert!(error.to_string().len() < 1024, "{shown}: {error}");
        assert!(matches!(error, ApiError::Invalid { .. }), "{shown}: {error:?}");
    }
}

#[test]
fn a_long_key_is_not_echoed() {
    let key = "k".repeat(1 << 19);
    for (field, inner) in [("logit_bias", "\"x\""), ("chat_template_kwargs", "1e999")] {
        let (at, said) = param(&with(field, &format!(r#"{{"{key}":{inner}}}"#)));
        assert!(at.unwrap().len() < 1024 && said.len() < 1024, "{field}");
    }
}

#[test]
fn choices_differ_by_seed_and_the_first_is_the_seed() {
    let chat = chat(with("seed", "-1").as_bytes()).unwrap();
    let seed = |index| chat.generation.sampling(index, &SamplingDefaults::default()).seed;
    assert_eq!((seed(0), seed(1)), (Some(u64::MAX), Some(0)));
    let defaults = SamplingDefaults { seed: Some(7), ..SamplingDefaults::default() };
    assert_eq!(chat.generation.sampling(0, &defaults).seed, Some(u64::MAX));
}

#[test]
fn a_request_overrides_the_model_and_the_model_the_neutral_value() {
    let defaults = SamplingDefaults {
        temperature: Some(0.6),
        top_k: Some(20),
        seed: Some(7),
        ..SamplingDefaults::default()
    };
    let unseeded = chat(with("top_p", "1").as_bytes()).unwrap().generation.sampling(1, &defaults);
    assert_eq!(unseeded.seed, Some(8));
    let plain = chat(with("seed", "1").as_bytes()).unwrap().generation.sampling(0, &defaults);
    assert_eq!((plain.temperature, plain.top_k, plain.top_p), (0.6, Some(20), 1.0));
    let narrow = chat(with("top_p", "1e-320").as_bytes()).unwrap().generation.sampling(0, &defaults);
    assert_eq!(narrow.top_p, f32::MIN_POSITIVE);
    let asked = chat(with("top_k", "-1").as_bytes()).unwrap().generation.sampling(0, &defaults);
    assert_eq!(asked.top_k, None);
    let greedy = chat(with("temperature", "1e-9").as_bytes()).unwrap().generation.sampling(0, &defaults);
    assert_eq!(greedy.temperature, 0.0);
}

#[test]
fn thinking_reaches_the_template_once() {
    let variables = |body: &str| chat(body.as_bytes()).unwrap().template_variables;
    assert_eq!(variables(&with("enable_thinking", "false"))["enable_thinking"], false);
    let effort = variables(&with("reasoning_effort", "\"none\""));
    assert_eq!((&effort["reasoning_effort"], &effort["enable_thinking"]), (&"none".into(), &false.into()));
    for (written, handed) in [("minimal", "minimal"), ("xhigh", "max"), ("max", "max")] {
        let effort = variables(&with("reasoning_effort", &format!("{written:?}")));
        assert_eq!(effort["reasoning_effort"], handed);
    }
    let (at, _) = param(&with("reasoning_effort", "\"none\",\"enable_thinking\":true"));
    assert_eq!(at.as_deref(), Some("enable_thinking"));
    let (at, _) = param(&with("chat_template_kwargs", "{\"messages\":[]}"));
    assert_eq!(at.as_deref(), Some("chat_template_kwargs.messages"));
    let (at, said) = param(&with("chat_template_kwargs", r#"{"a":[{"b":1,"b":2}]}"#));
    assert_eq!(at.as_deref(), Some("chat_template_kwargs.a[0]"));
    assert_eq!(said, "chat_template_kwargs.a[0]: the key \"b\" appears twice");
}

#[test]
fn variables_of_the_template_have_so_many_values_in_all() {
    let zeros = |count| with("chat_template_kwargs", &format!(r#"{{"a":[{}]}}"#, vec!["0"; count].join(",")));
    assert!(chat(zeros(16_383).as_bytes()).is_ok());
    let (at, said) = param(&zeros(16_384));
    assert_eq!(at.as_deref(), Some("chat_template_kwargs"));
    assert_eq!(said, "chat_template_kwargs: more than 16384 values");
}

#[test]
fn nulls_are_as_good_as_absent() {
    let body = r#"{"messages":[{"role":"user","content":"x"}],"temperature":null,"stop":null,"tools":null,
        "max_tokens":null,"stream":null,"stream_options":null,"logit_bias":null,"n":null,"model":null,"seed":null}"#;
    assert!(chat(body.as_bytes()).is_ok());
}
