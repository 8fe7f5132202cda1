use std::time::{Duration, UNIX_EPOCH};

use serde_json::json;

use super::*;

const CHATML: &str = "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

fn render_with(source: &str, messages: Json, arguments: Json) -> Result<String, TemplateError> {
    let tokens = TemplateTokens { bos: Some("<s>".into()), eos: Some("</s>".into()), ..Default::default() };
    let template = ChatTemplate::single(source, tokens)?;
    template.render(&ChatPrompt {
        messages: messages.as_array().unwrap(),
        tools: &[],
        add_generation_prompt: true,
        arguments: arguments.as_object().unwrap(),
        now: UNIX_EPOCH + Duration::from_secs(1_721_952_000),
    })
}

fn render(source: &str) -> Result<String, TemplateError> {
    render_with(
        source,
        json!([{ "role": "user", "content": "hi", "extra": { "z": 1, "a": [true, null, 1.5] } }]),
        json!({}),
    )
}

#[track_caller]
fn check(source: &str, expected: &str) {
    assert_eq!(render(source).as_deref(), Ok(expected), "{source}");
}

#[test]
fn chatml_renders_as_the_models_expect() {
    let messages =
        json!([{ "role": "system", "content": "Be brief." }, { "role": "user", "content": "<b>\"hi\"</b>" }]);
    let expected = "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n<b>\"hi\"</b><|im_end|>\n<|im_start|>assistant\n";
    assert_eq!(render_with(CHATML, messages, json!({})).as_deref(), Ok(expected));
}

#[test]
fn blocks_are_trimmed_as_transformers_trims_them() {
    check("  {% if true %}\n  a\n  {% endif %}\nb\n", "  a\nb");
    check("{# comment #}\nx", "x");
}

/// Expected strings: Python 3's `json.dumps(x, ensure_ascii=False, …)`.
#[test]
fn tojson_writes_what_python_writes() {
    check("{{ messages[0].extra | tojson }}", r#"{"z": 1, "a": [true, null, 1.5]}"#);
    check(
        "{{ messages[0].extra | tojson(indent=2) }}",
        "{\n  \"z\": 1,\n  \"a\": [\n    true,\n    null,\n    1.5\n  ]\n}",
    );
    check(
        "{{ messages[0].extra | tojson(sort_keys=true, separators=[',', ':']) }}",
        r#"{"a":[true,null,1.5],"z":1}"#,
    );
    check(
        "{{ '<a href=\"x\">&\u{e9}\u{1}\u{7f}\\n' | tojson }}",
        "\"<a href=\\\"x\\\">&\u{e9}\\u0001\u{7f}\\n\"",
    );
    check("{{ '\u{e9}🦙' | tojson(ensure_ascii=true) }}", r#""\u00e9\ud83e\udd99""#);
    check(
        "{{ [] | tojson }}{{ {} | tojson(indent=4) }}{{ [1e16, 1e15, 0.00001, 0.0001, 3.0] | tojson }}",
        "[]{}[1e+16, 1000000000000000.0, 1e-05, 0.0001, 3.0]",
    );
}

#[test]
fn values_print_as_python_prints_them() {
    check("{{ messages[0].extra }} {{ true }} {{ none }}", "{'z': 1, 'a': [True, None, 1.5]} True None");
}

#[test]
fn python_methods_and_loop_controls_work() {
    check("{{ ' x '.strip() }}{{ 'a,b'.split(',')[-1] }}{{ 'ab'.startswith('a') }}", "xbTrue");
    check(
        "{% for k, v in messages[0].extra.items() %}{{ k }}{% if loop.first %}{% continue %}{% endif %}{% break %}{% endfor %}",
        "za",
    );
    check(
        "{{ 'abc'.removeprefix('a') }}{{ 'abc'.removesuffix('c') }}{{ messages[0].get('nothing', 'none') }}",
        "bcabnone",
    );
}

#[test]
fn tests_of_values_agree_with_jinja2() {
    check("{{ tools is iterable }}{{ 'a' is iterable }}{{ messages is iterable }}", "FalseTrueTrue");
    check(
        "{{ tools is sequence }}{{ 'a' is sequence }}{{ {} is sequence }}{{ 1 is sequence }}",
        "FalseTrueTrueFalse",
    );
    check(
        "{{ {} is mapping }}{{ messages is mapping }}{{ 1 is number }}{{ 'a' is string }}",
        "TrueFalseTrueTrue",
    );
}

#[test]
fn variables_are_there() {
    check("{{ bos_token }}{{ eos_token }}{{ pad_token is defined }}{{ tools is none }}", "<s></s>FalseTrue");
    check("{{ date_string }}|{{ strftime_now('%Y-%m-%d') }}", "26 Jul 2024|2024-07-26");
    let thinking = "{{ enable_thinking is defined and not enable_thinking }}";
    assert_eq!(render_with(thinking, json!([]), json!({ "enable_thinking": false })).as_deref(), Ok("True"));
    check(thinking, "False");
}

#[test]
fn arguments_do_not_replace_the_messages() {
    assert_eq!(
        render_with("{{ messages | length }}", json!([]), json!({ "messages": [1, 2] })).as_deref(),
        Ok("0")
    );
}

#[test]
fn generation_tags_render_their_body() {
    check("a\n{%- generation -%}\n b{% endgeneration %}c", "abc");
}

#[test]
fn errors_carry_the_line() {
    let raised = TemplateError::Raised { line: 2, message: "roles must alternate".into() };
    assert_eq!(render("\n{{ raise_exception('roles must alternate') }}"), Err(raised));
    assert!(matches!(render("a\nb\n{% if %}"), Err(TemplateError::Syntax { line: 3, .. })));
    assert!(matches!(render("\n{{ missing.attribute }}"), Err(TemplateError::Render { line: 2, .. })));
    assert!(matches!(render("{{ strftime_now('%Q') }}"), Err(TemplateError::Render { .. })));
}

#[test]
fn endless_templates_are_stopped() {
    let nested = "{% for a in range(9999) %}{% for b in range(9999) %}{{ b }}{% endfor %}{% endfor %}";
    assert!(matches!(render(nested), Err(TemplateError::TooCostly { line: 1 })));
    let long = "{% set s = 'x' * 1000000 %}{% for a in range(9999) %}{{ s }}{% endfor %}";
    assert_eq!(render(long), Err(TemplateError::OutputTooLong));
    let captured =
        "{% set s = 'x' * 1000000 %}{% set t %}{% for a in range(9999) %}{{ s }}{% endfor %}{% endset %}";
    assert_eq!(render(captured), Err(TemplateError::OutputTooLong));
    let replaced = "{{ ('x' * 1000000).replace('x', 'y' * 1000000) }}";
    assert_eq!(render(replaced), Err(TemplateError::OutputTooLong));
    assert!(matches!(
        render("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}"),
        Err(TemplateError::Render { .. })
    ));
    let huge = "x".repeat(TEMPLATE_BYTES_MAX + 1);
    assert!(matches!(render(&huge), Err(TemplateError::TooLarge { .. })));
}

#[test]
fn lists_that_are_joined_lazily_take_no_longer_than_allowed() {
    let source = "{% set ns = namespace(x=[1]) %}{% for i in range(messages[0].content | int) %}\
        {% set ns.x = ns.x + ns.x %}{% endfor %}{{ ns.x | sum }}";
    let mut template = ChatTemplate::single(source, TemplateTokens::default()).unwrap();
    let render = |template: &ChatTemplate, doublings: &str| {
        template.render(&ChatPrompt {
            messages: &[json!({ "role": "user", "content": doublings })],
            tools: &[],
            add_generation_prompt: true,
            arguments: &Map::new(),
            now: UNIX_EPOCH,
        })
    };
    assert_eq!(render(&template, "3").as_deref(), Ok("8"));
    template.environment.set_time_max(Duration::from_millis(1));
    assert_eq!(render(&template, "20"), Err(TemplateError::TooSlow));
}

/// Each would be copied as often as there are messages by `ns.text = ns.text + message.content`.
#[test]
fn conversations_of_many_bytes_and_messages_are_large() {
    for (messages, content_bytes, expected) in [
        (1, 32 << 20, Size::Small),
        (400, 1000, Size::Small),
        (2000, 20, Size::Small),
        (16_384, 0, Size::Large),
        (64, 1 << 20, Size::Large),
    ] {
        let message = json!({ "role": "user", "content": "x".repeat(content_bytes) });
        let prompt = ChatPrompt {
            messages: &vec![message; messages],
            tools: &[],
            add_generation_prompt: true,
            arguments: &Map::new(),
            now: UNIX_EPOCH,
        };
        assert_eq!(size(&prompt), expected, "{messages} messages of {content_bytes} bytes");
    }
}

#[test]
fn deep_recursion_fits_the_stack_of_its_thread() {
    let source = "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(100000) }}";
    assert!(matches!(render(source), Err(TemplateError::Render { .. })));
    let nested = format!("{}1{}", "(".repeat(100_000), ")".repeat(100_000));
    assert!(matches!(render(&format!("{{{{ {nested} }}}}")), Err(TemplateError::Syntax { .. })));
}

fn call(arguments: Json) -> Json {
    json!([{ "role": "assistant", "tool_calls": [{ "type": "function", "function": { "name": "f", "arguments": arguments } }] }])
}

#[test]
fn tool_arguments_come_in_the_form_the_template_wants() {
    let every = "{% for m in messages %}{% for c in m.tool_calls or [] %}";
    let ends = "{% endfor %}{% endfor %}";
    let cases = [
        ("{{ c.function.arguments | tojson }}", r#"{"b": 1, "a": "x"}"#),
        ("{% for k, v in c.function.arguments.items() %}{{ k }}={{ v }};{% endfor %}", "b=1;a=x;"),
        ("{{ '' + c.function.arguments }}", r#"{"b":1,"a":"x"}"#),
        ("{{ c.function.arguments }}", r#"{"b":1,"a":"x"}"#),
        (
            "{{ c.function.arguments if c.function.arguments is string else c.function.arguments | tojson }}",
            r#"{"b":1,"a":"x"}"#,
        ),
    ];
    for (body, expected) in cases {
        let source = format!("{every}{body}{ends}");
        assert_eq!(
            render_with(&source, call(json!(r#"{"b":1,"a":"x"}"#)), json!({})).as_deref(),
            Ok(expected),
            "{body}"
        );
    }
    let source = format!("{every}{{{{ c.function.arguments | tojson }}}}{ends}");
    assert_eq!(render_with(&source, call(json!("not json")), json!({})).as_deref(), Ok(r#""not json""#));
}

#[test]
fn a_second_template_serves_requests_with_tools() {
    let templates =
        vec![("default".into(), "plain".into()), ("tool_use".into(), "{{ tools | length }} tools".into())];
    let template = ChatTemplate::new(templates, TemplateTokens::default()).unwrap();
    let prompt = ChatPrompt {
        messages: &[],
        tools: &[],
        add_generation_prompt: true,
        arguments: &Map::new(),
        now: UNIX_EPOCH,
    };
    assert_eq!(template.render(&prompt).as_deref(), Ok("plain"));
    let tools = [json!({ "type": "function" })];
    assert_eq!(template.render(&ChatPrompt { tools: &tools, ..prompt }).as_deref(), Ok("1 tools"));
}
