//! `/v1/completions`, `/tokenize` and `/detokenize`.

use serde_json::{Value, json};

use crate::fixture::{ANSWER, CONTEXT, Fixture, ID};

async fn complete(server: &Fixture, mut fields: Value) -> Value {
    fields.as_object_mut().unwrap().entry("temperature").or_insert(json!(0));
    let answer = server.post("/v1/completions", &fields).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()
}

#[tokio::test]
async fn a_text_is_continued_for_sixteen_tokens_by_default() {
    let server = Fixture::new().await;
    let body = complete(&server, json!({"prompt": "say c"})).await;
    assert!(body["id"].as_str().unwrap().starts_with("cmpl-"));
    assert_eq!((&body["object"], &body["model"]), (&json!("text_completion"), &json!(ID)));
    let expected =
        json!({"index": 0, "text": "defghijklménopq", "logprobs": null, "finish_reason": "length"});
    assert_eq!(body["choices"], json!([expected]));
    assert_eq!(body["usage"]["prompt_tokens"], 5);
}

#[tokio::test]
async fn a_prompt_may_be_texts_or_tokens() {
    let server = Fixture::new().await;
    let texts = |body: Value| -> Vec<String> {
        body["choices"].as_array().unwrap().iter().map(|c| c["text"].as_str().unwrap().to_owned()).collect()
    };
    for (prompt, expected) in [
        (json!(["w", "x"]), vec!["xyz", "yz"]),
        (json!([119]), vec!["xyz"]),
        (json!([[119], [120, 121]]), vec!["xyz", "z"]),
    ] {
        assert_eq!(texts(complete(&server, json!({"prompt": prompt})).await), expected);
    }
    let body = complete(&server, json!({"prompt": ["w", "y"], "n": 2, "return_token_ids": true})).await;
    assert_eq!(body["usage"]["prompt_tokens"], 2);
    let prompts: Vec<&Value> = (0..4).map(|i| &body["choices"][i]["prompt_token_ids"]).collect();
    assert_eq!(prompts, [&json!([119]), &json!([119]), &json!([121]), &json!([121])]);
    assert_eq!(texts(body), ["xyz", "xyz", "z", "z"]);
}

#[tokio::test]
async fn a_seed_says_the_same_wherever_a_prompt_stands() {
    let server = Fixture::new().await;
    let fields = json!({"prompt": ["b", "b"], "n": 2, "seed": 7, "temperature": 2, "max_tokens": 8,
        "return_token_ids": true});
    let body = complete(&server, fields).await;
    let ids: Vec<&Value> = (0..4).map(|index| &body["choices"][index]["token_ids"]).collect();
    assert_eq!(ids[..2], ids[2..]);
    assert_ne!(ids[0], ids[1]);
}

#[tokio::test]
async fn a_text_whose_tokens_the_model_does_not_have_is_refused() {
    let server = Fixture::new().await;
    for (path, param) in [("/v1/completions", "prompt"), ("/v1/chat/completions", "messages")] {
        let mut body = json!({"max_tokens": 1});
        body[param] = json!("what??");
        let answer = server.post(path, &body).await;
        assert_eq!((answer.status.as_u16(), &answer.json()["error"]["param"]), (400, &json!(param)));
    }
}

#[tokio::test]
async fn echo_begins_with_the_prompt() {
    let server = Fixture::new().await;
    let ended = complete(&server, json!({"prompt": [256, 119], "echo": true})).await;
    assert_eq!(ended["choices"][0]["text"], "<|end|>wxyz");
    for prompt in [json!("é w"), json!([0xc3, 0xa9, 32, 119])] {
        let body = complete(&server, json!({"prompt": prompt, "echo": true})).await;
        assert_eq!(body["choices"][0]["text"], "é wxyz");
        let answer = server
            .post(
                "/v1/completions",
                &json!({"prompt": prompt, "echo": true, "stream": true, "temperature": 0}),
            )
            .await;
        let text: String = answer
            .events()
            .iter()
            .map(|event| event["choices"][0]["text"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(text, "é wxyz");
    }
}

/// Python's `str.splitlines` knows more ends of lines than events have.
#[tokio::test]
async fn an_event_is_one_line_to_every_client() {
    let server = Fixture::new().await;
    let ends = ['\u{85}', '\u{2028}', '\u{2029}'];
    let prompt = format!("{} w", String::from_iter(ends));
    let fields = json!({"prompt": prompt, "echo": true, "stream": true, "temperature": 0});
    let answer = server.post("/v1/completions", &fields).await;
    assert!(!answer.text.contains(ends), "{}", answer.text);
    let events = answer.events();
    let text: String = events.iter().map(|event| event["choices"][0]["text"].as_str().unwrap()).collect();
    assert_eq!(text, format!("{prompt}xyz"));
}

#[tokio::test]
async fn a_stream_gives_the_same_text() {
    let server = Fixture::new().await;
    let fields = json!({"prompt": ">", "max_tokens": 64, "stream": true, "temperature": 0,
        "stream_options": {"include_usage": true}});
    let events = server.post("/v1/completions", &fields).await.events();
    let (usage, rest) = events.split_last().unwrap();
    let text: String = rest.iter().map(|event| event["choices"][0]["text"].as_str().unwrap()).collect();
    assert_eq!(text, ANSWER);
    assert_eq!((&usage["choices"], &usage["usage"]["prompt_tokens"]), (&json!([]), &json!(1)));
}

#[tokio::test]
async fn logprobs_have_the_old_shape() {
    let server = Fixture::new().await;
    let body = complete(&server, json!({"prompt": "l", "logprobs": 2, "max_tokens": 4})).await;
    let logprobs = &body["choices"][0]["logprobs"];
    assert_eq!(logprobs["tokens"], json!(["m", "bytes:\\xc3", "bytes:\\xa9", "n"]));
    assert_eq!(logprobs["token_logprobs"].as_array().unwrap().len(), 4);
    // é is begun by one token and completed by the next.
    assert_eq!(logprobs["text_offset"], json!([0, 1, 1, 2]));
    let top = logprobs["top_logprobs"][0].as_object().unwrap();
    assert_eq!((top.len(), top.keys().next().unwrap().as_str()), (2, "m"));
    let fields = json!({"prompt": "y", "logprobs": 0, "max_tokens": 3, "ignore_eos": true});
    let body = complete(&server, fields).await;
    assert_eq!(body["choices"][0]["text"], "za");
    let logprobs = &body["choices"][0]["logprobs"];
    assert_eq!(logprobs["tokens"], json!(["z", "<|end|>", "a"]));
    assert_eq!(logprobs["text_offset"], json!([0, 1, 1]), "what is not in the text moves nothing");
}

#[tokio::test]
async fn the_drawn_token_is_among_the_top_logprobs() {
    let server = Fixture::new().await;
    for (top, temperature, expected) in [(0, 0, 1), (1, 0, 1), (1, 2, 2)] {
        let fields = json!({"prompt": "a", "logprobs": top, "temperature": temperature, "seed": 5,
            "max_tokens": 32, "ignore_eos": true});
        let body = complete(&server, fields).await;
        let logprobs = &body["choices"][0]["logprobs"];
        let tokens = logprobs["tokens"].as_array().unwrap();
        assert_eq!(tokens.len(), 32);
        for (index, token) in tokens.iter().enumerate() {
            let listed = &logprobs["top_logprobs"][index][token.as_str().unwrap()];
            assert_eq!(listed, &logprobs["token_logprobs"][index], "{logprobs}");
        }
        let most = logprobs["top_logprobs"].as_array().unwrap().iter();
        let most = most.map(|top| top.as_object().unwrap().len()).max();
        assert_eq!(most, Some(expected), "logprobs = {top}, temperature = {temperature}");
    }
}

#[tokio::test]
async fn tokens_go_there_and_back() {
    let server = Fixture::new().await;
    let body = server.post("/tokenize", &json!({"prompt": "aé", "return_token_strs": true})).await.json();
    let expected = json!({"count": 3, "max_model_len": CONTEXT, "tokens": [97, 0xc3, 0xa9],
        "token_strs": ["a", "\u{fffd}", "\u{fffd}"]});
    assert_eq!(body, expected);
    let body = server.post("/detokenize", &json!({"tokens": [97, 0xc3, 0xa9, 256]})).await.json();
    assert_eq!(body, json!({"prompt": "aé<|end|>"}));
    let messages = json!([{"role": "user", "content": "Hi"}]);
    let with_head = server.post("/tokenize", &json!({"messages": messages})).await.json();
    let without =
        server.post("/tokenize", &json!({"messages": messages, "add_generation_prompt": false})).await.json();
    assert_eq!((&with_head["count"], &without["count"]), (&json!(10), &json!(9)));
}

#[tokio::test]
async fn a_conversation_has_the_tokens_of_its_chat_request() {
    let server = Fixture::new().await;
    let asks =
        json!({"messages": [{"role": "user", "content": "Hi"}], "chat_template_kwargs": {"mood": "sad"}});
    let tokens = server.post("/tokenize", &asks).await.json();
    let answer = server.chat(asks).await.json();
    assert_eq!((&tokens["count"], &answer["usage"]["prompt_tokens"]), (&json!(13), &json!(13)));
    let refused = server.post("/tokenize", &json!({"prompt": "x", "enable_thinking": false})).await;
    assert_eq!((refused.status.as_u16(), &refused.json()["error"]["param"]), (400, &json!("prompt")));
}
