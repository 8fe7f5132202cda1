//! Files and flags in, messages or a configuration out.

use proptest::prelude::*;
use toml::Value;

use super::*;
use crate::reference::samples;
use crate::{AgentPermission, Command, TokenSource};

mod flags;

fn messages(text: &str) -> Vec<String> {
    match Loaded::from_toml("a.toml", text) {
        Ok(loaded) => match loaded.unsupported() {
            Ok(()) => Vec::new(),
            Err(problems) => problems.0.iter().map(ToString::to_string).collect(),
        },
        Err(problems) => problems.0.iter().map(ToString::to_string).collect(),
    }
}

fn check(text: &str, expected: &[&str]) {
    assert_eq!(messages(text), expected, "{text}");
}

const MODEL: &str = "[[models]]\nmodel_id = \"m\"\n";

#[test]
fn smallest_file_is_valid() {
    let loaded = Loaded::from_toml("a.toml", MODEL).unwrap();
    assert_eq!(loaded.config.command, Command::Serve);
    assert_eq!(loaded.config.server.port.get(), 1234);
    assert_eq!(loaded.config.server.host.as_str(), "0.0.0.0");
    assert_eq!(loaded.config.runtime.max_seqs.get(), 32);
    assert_eq!(loaded.config.runtime.prefix_cache_n.get(), 16);
    assert_eq!(loaded.config.models[0].model_id.as_str(), "m");
    check(MODEL, &[]);
}

#[test]
fn example_of_the_reference_names_what_is_missing_here() {
    let text = "command = \"serve\"\ndefault_model_id = \"Qwen/Qwen3-4B\"\n\
        [server]\nhost = \"0.0.0.0\"\nport = 1234\n\
        [runtime]\nenable_search = true\nsearch_embedding_model = \"embedding-gemma\"\n\
        [[models]]\nmodel_id = \"Qwen/Qwen3-4B\"\n[models.quantization]\nquant = \"4\"\n\
        [[models]]\nmodel_id = \"google/gemma-4-E4B-it\"\n[models.quantization]\nquant = \"4\"\n";
    check(
        text,
        &[
            "a.toml:7: runtime.enable_search = true is not supported by this build",
            "a.toml:8: runtime.search_embedding_model = \"embedding-gemma\" is not supported by this build",
            "a.toml:12: models[0].quantization.quant = \"4\" is not supported by this build",
            "a.toml:16: models[1].quantization.quant = \"4\" is not supported by this build",
        ],
    );
}

#[test]
fn text_that_is_not_toml_names_its_line() {
    let [message] = messages("command = \"serve\"\nport 1\n").try_into().unwrap();
    assert!(message.starts_with("a.toml:2: is not TOML: "), "{message}");
}

#[test]
fn keys_and_tables_that_occur_twice_are_named() {
    let cases = [
        ("[server]\nport = 1\nport = 2\n", "a.toml:3: is not TOML: duplicate key port"),
        ("[server]\nport = 1\n[server]\nhost = \"h\"\n", "a.toml:3: is not TOML: duplicate key server"),
        ("runtime = { threads = 1, threads = 2 }\n", "a.toml:1: is not TOML: duplicate key threads"),
    ];
    for (text, expected) in cases {
        check(text, &[expected]);
    }
}

#[test]
fn paths_are_meant_from_the_folder_of_their_file() {
    let text = "[global]\nlog = \"all.log\"\ntoken_source = \"path:token\"\n\
        [runtime]\nchat_template = \"/etc/a.jinja\"\n\
        [[models]]\nmodel_id = \"m.gguf\"\ntokenizer = \"../t.json\"\nformat.quantized_file = \"q.gguf\"\n";
    let config = |name: &str| Loaded::from_toml(name, text).unwrap();
    let loaded = config("conf/a.toml");
    let path = |path: &Option<crate::FilePath>| path.as_ref().unwrap().as_path().to_str().unwrap().to_owned();
    assert_eq!(path(&loaded.config.global.log), "conf/all.log");
    assert_eq!(loaded.config.global.token_source, TokenSource::Path("conf/token".into()));
    assert_eq!(path(&loaded.config.runtime.chat_template), "/etc/a.jinja");
    assert_eq!(path(&loaded.config.models[0].tokenizer), "conf/../t.json");
    // Names are not changed: a model's is what clients use, its file is looked for in the model.
    assert_eq!(loaded.config.models[0].model_id.as_str(), "m.gguf");
    assert_eq!(loaded.config.models[0].format.quantized_file.as_ref().unwrap().as_str(), "q.gguf");
    assert_eq!(loaded.folder("models[0].model_id"), Some("conf".into()));
    // Nothing to go by, or what it already is.
    assert_eq!(path(&config("a.toml").config.global.log), "all.log");
    assert_eq!(config("a.toml").folder("models[0].model_id"), None);
    let flags = flags::load(Command::Serve, &[("model-id", &["m"]), ("log", &["all.log"])]).unwrap();
    assert_eq!(path(&flags.config.global.log), "all.log");
    assert_eq!(flags.folder("models[0].model_id"), None);
}

#[test]
fn listing_needs_no_model_but_right_values() {
    let document = |text: &str| Document::parse("a.toml", text).unwrap();
    let listing = Loaded::for_listing(document("[server]\nport = 80\n")).unwrap().to_toml();
    assert!(
        listing.contains("port = 80  # a.toml:2\n") && listing.contains("# no [[models]] yet"),
        "{listing}"
    );
    assert!(Loaded::for_listing(document("[server]\nmcp_port = 1234\n")).is_err());
}

#[test]
fn unknown_keys_suggest_the_nearest() {
    let cases = [
        (
            "[runtime]\nmax_seq = 4\n",
            "a.toml:2: runtime.max_seq = 4 is not a known key; did you mean runtime.max_seqs?",
        ),
        ("[runtme]\nmax_seqs = 4\n", "a.toml:1: runtme is not a known table; did you mean [runtime]?"),
        ("runtme = 4\n", "a.toml:1: runtme = 4 is not a known key; did you mean [runtime]?"),
        ("servr = { port = 4 }\n", "a.toml:1: servr is not a known table; did you mean [server]?"),
        ("[[model]]\nmodel_id = \"m\"\n", "a.toml:1: model is not a known table; did you mean [[models]]?"),
        ("max_seqs = 4\n", "a.toml:1: max_seqs = 4 is not a known key; did you mean runtime.max_seqs?"),
        (
            "\"runtime.max_seqs\" = 4\n",
            "a.toml:1: runtime.max_seqs = 4 is not a known key; did you mean runtime.max_seqs?",
        ),
        (
            "[sandbox]\nzzz = 1\n",
            "a.toml:2: sandbox.zzz = 1 is not a known key; known here are mode, profile, \
            max_memory_mb, max_cpu_secs, max_procs, network",
        ),
    ];
    for (text, expected) in cases {
        check(&format!("{text}{MODEL}"), &[expected]);
    }
    let model = format!("{MODEL}chat_templat = \"x\"\n[models.device]\ncpus = true\n");
    check(
        &model,
        &[
            "a.toml:3: models[0].chat_templat = \"x\" is not a known key; did you mean models[0].chat_template?",
            "a.toml:5: models[0].device.cpus = true is not a known key; did you mean models[0].device.cpu?",
        ],
    );
}

#[test]
fn values_say_what_is_allowed() {
    let cases = [
        (
            "[runtime]\nmax_seqs = 0\n",
            "a.toml:2: runtime.max_seqs = 0 must be a whole number from 1 to 65536",
        ),
        (
            "[runtime]\nmax_seqs = \"8\"\n",
            "a.toml:2: runtime.max_seqs = \"8\" must be a whole number from 1 to 65536",
        ),
        (
            "[runtime]\nmax_seqs = 1.5\n",
            "a.toml:2: runtime.max_seqs = 1.5 must be a whole number from 1 to 65536",
        ),
        ("[server]\nport = 65536\n", "a.toml:2: server.port = 65536 must be a whole number from 0 to 65535"),
        ("[server]\nport = -1\n", "a.toml:2: server.port = -1 must be a whole number from 0 to 65535"),
        ("[server]\nhost = \"a b\"\n", "a.toml:2: server.host = \"a b\" must be a host name or IP address"),
        ("[server]\nno_ui = 1\n", "a.toml:2: server.no_ui = 1 must be true or false"),
        (
            "[server]\naccess_log_format = \"xml\"\n",
            "a.toml:2: server.access_log_format = \"xml\" must be \"text\" or \"json\"",
        ),
        (
            "[paged_attn]\nmemory_fraction = 1.5\n",
            "a.toml:2: paged_attn.memory_fraction = 1.5 must be a number more than 0 and at most 1",
        ),
        ("[paged_attn]\nblock_size = 24\n", "a.toml:2: paged_attn.block_size = 24 must be 8, 16, 32 or 64"),
        ("command = \"bench\"\n", "a.toml:1: command = \"bench\" must be \"serve\" or \"run\""),
        (
            "[global]\nseed = 99999999999999999999\n",
            "a.toml:2: global.seed = 99999999999999999999 must be a whole number from 0",
        ),
        (
            "[global]\ntoken_source = \"file:x\"\n",
            "a.toml:2: global.token_source = \"file:x\" must be cache, none, literal:TOKEN, env:NAME or path:FILE",
        ),
        ("runtime = 1\n", "a.toml:1: runtime = 1 must be a table, written [runtime]"),
    ];
    for (text, expected) in cases {
        check(&format!("{text}{MODEL}"), &[expected]);
    }
    check("models = 1\n", &["a.toml:1: models = 1 must be tables, each written [[models]]"]);
    check("[[models]]\nmodel_id = \"\"\n", &["a.toml:2: models[0].model_id = \"\" must not be empty"]);
    check("[[models]]\nmodel_id = 1\n", &["a.toml:2: models[0].model_id = 1 must be a text"]);
    check(
        "[[models]]\nmodel_id = 99999999999999999999\n",
        &["a.toml:2: models[0].model_id = 99999999999999999999 must be a text"],
    );
    check(&format!("{MODEL}tokenizer = \"\"\n"), &["a.toml:3: models[0].tokenizer = \"\" must not be empty"]);
    check(&format!("{MODEL}tokenizer = true\n"), &["a.toml:3: models[0].tokenizer = true must be a path"]);
}

#[test]
fn all_problems_are_told_at_once() {
    check(
        "[server]\nport = -1\nhosts = \"x\"\n[[models]]\nkind = \"txt\"\n",
        &[
            "a.toml:2: server.port = -1 must be a whole number from 0 to 65535",
            "a.toml:3: server.hosts = \"x\" is not a known key; did you mean server.host?",
            "a.toml:5: models[0].kind = \"txt\" must be \"auto\", \"text\", \"multimodal\", \"diffusion\", \"speech\" \
             or \"embedding\"",
            "a.toml:4: models[0].model_id is missing: A directory, a GGUF file or a hub id; the name clients use.",
        ],
    );
}

#[test]
fn rules_between_keys_name_both() {
    let cases = [
        ("", "a.toml: models is missing: at least one [[models]] entry is needed, or --model-id"),
        (
            "default_model_id = \"x\"\n[[models]]\nmodel_id = \"m\"\n",
            "a.toml:1: default_model_id = \"x\" must be the model_id of a [[models]] entry: \"m\"",
        ),
        (
            "[[models]]\nmodel_id = \"m\"\n[[models]]\nmodel_id = \"m\"\n",
            "a.toml:4: models[1].model_id = \"m\" is the id of an earlier model; each model needs its own",
        ),
        (
            "[[models]]\nmodel_id = \"m\"\ndevice.cpu = true\n[[models]]\nmodel_id = \"n\"\ndevice.cpu = false\n",
            "a.toml:6: models[1].device.cpu = false must be the same for all models, and an earlier one says true",
        ),
        (
            "[paged_attn]\ncontext_len = 1\nmemory_mb = 1\n[[models]]\nmodel_id = \"m\"\n",
            "a.toml:3: paged_attn.memory_mb = 1 conflicts with paged_attn.context_len (--pa-context-len)",
        ),
        (
            "[runtime]\nsearch_embedding_model = \"embedding-gemma\"\n[[models]]\nmodel_id = \"m\"\n",
            "a.toml:2: runtime.search_embedding_model = \"embedding-gemma\" requires runtime.enable_search \
             (--enable-search) or runtime.agent (--agent)",
        ),
        (
            "[runtime]\nenable_shell = true\ncode_exec_timeout = 5\n[[models]]\nmodel_id = \"m\"\n",
            "a.toml:3: runtime.code_exec_timeout = 5 requires runtime.enable_code_execution \
             (--enable-code-execution) or runtime.agent (--agent)",
        ),
        (
            "[[models]]\nmodel_id = \"m\"\n[models.quantization]\nquant = \"4\"\nisq = \"4\"\n",
            "a.toml:4: models[0].quantization.quant = \"4\" conflicts with models.quantization.isq (--isq)",
        ),
        (
            "[[models]]\nmodel_id = \"m\"\n[models.adapter]\nxlora_order = \"o.json\"\n",
            "a.toml:4: models[0].adapter.xlora_order = \"o.json\" requires models.adapter.xlora (--xlora)",
        ),
        (
            "[server]\nmcp_port = 1234\n[[models]]\nmodel_id = \"m\"\n",
            "a.toml:2: server.mcp_port = 1234 must differ from server.port",
        ),
        (
            "thinking = true\n[[models]]\nmodel_id = \"m\"\n",
            "a.toml:1: thinking = true applies to command = \"run\" only",
        ),
        (
            "command = \"run\"\n[server]\nport = 80\n[[models]]\nmodel_id = \"m\"\n",
            "a.toml:3: server.port = 80 applies to command = \"serve\" only",
        ),
        (
            "command = \"run\"\n[[models]]\nmodel_id = \"m\"\n[[models]]\nmodel_id = \"n\"\n",
            "a.toml:4: models[1] = [[models]] is one model too many: command = \"run\" takes one",
        ),
        (
            "[[models]]\nmodel_id = \"m\"\nchat_template = \"t.jinja\"\njinja_explicit = \"t.txt\"\n",
            "a.toml:4: models[0].jinja_explicit = \"t.txt\" must end in .jinja or .json",
        ),
        (
            "[runtime]\nchat_template = \"template\"\n[[models]]\nmodel_id = \"m\"\n",
            "a.toml:2: runtime.chat_template = \"template\" must end in .jinja or .json",
        ),
        (
            "command = \"run\"\nadapter = \"a\"\n[[models]]\nmodel_id = \"m\"\n",
            "a.toml:2: adapter = \"a\" must be the alias of an entry of models.adapter.lora",
        ),
    ];
    for (text, expected) in cases {
        check(text, &[expected]);
    }
}

#[test]
fn only_templates_that_a_model_reads_need_their_name() {
    let models = |first: &str, second: &str| {
        let all = "[runtime]\nchat_template = \"all.txt\"\n";
        format!("{all}[[models]]\nmodel_id = \"m\"\n{first}[[models]]\nmodel_id = \"n\"\n{second}")
    };
    let (own, explicit) = ("chat_template = \"own.jinja\"\n", "jinja_explicit = \"own.j2\"\n");
    assert!(Loaded::from_toml("a.toml", &models(own, explicit)).is_ok());
    let unread = format!("{explicit}chat_template = \"own.txt\"\n");
    assert!(Loaded::from_toml("a.toml", &models(own, &unread)).is_ok());
    let told = "a.toml:2: runtime.chat_template = \"all.txt\" must end in .jinja or .json";
    check(&models(own, ""), &[told]);
    check(&models("", ""), &[told]);
}

#[test]
fn agent_stands_for_the_tools_it_enables() {
    let text = format!("[runtime]\nagent = true\ncode_exec_timeout = 5\nshell_path = \"/bin/sh\"\n{MODEL}");
    assert!(Loaded::from_toml("a.toml", &text).is_ok());
}

#[test]
fn aliases_set_their_key() {
    let text = "command = \"run\"\nenable_thinking = false\n[runtime]\nagentic = true\ncode_exec_permission = \"ask\"\n\
        [[models]]\nmodel_id = \"m\"\nquantization.in_situ_quant = \"4\"\n";
    let loaded = Loaded::from_toml("a.toml", text).unwrap();
    assert_eq!(loaded.config.thinking, Some(false));
    assert!(loaded.config.runtime.agent);
    assert_eq!(loaded.config.runtime.agent_permission, AgentPermission::Ask);
    assert_eq!(loaded.config.models[0].quantization.isq.as_ref().unwrap().as_str(), "4");
    // The types take them too, so that schema and types cannot drift apart.
    assert_eq!(toml::from_str::<DaemonConfig>(text).unwrap(), loaded.config);
    check(
        &format!("thinking = true\nenable_thinking = true\n{MODEL}"),
        &["a.toml:2: enable_thinking = true is another name of thinking, which is set too"],
    );
}

#[test]
fn refused_values_are_named() {
    let cases = [
        ("[paged_attn]\ncache_type = \"f8e4m3\"\n", "a.toml:2: paged_attn.cache_type = \"f8e4m3\""),
        ("[paged_attn]\nmode = \"off\"\n", "a.toml:2: paged_attn.mode = \"off\""),
        ("[runtime]\nno_kv_cache = true\n", "a.toml:2: runtime.no_kv_cache = true"),
        ("[server]\nmax_tool_rounds = 4\n", "a.toml:2: server.max_tool_rounds = 4"),
        ("[sandbox]\nmax_procs = 5\n", "a.toml:2: sandbox.max_procs = 5"),
    ];
    for (text, expected) in cases {
        check(&format!("{text}{MODEL}"), &[&format!("{expected} is not supported by this build")]);
    }
}

#[test]
fn secrets_stay_out_of_messages_and_listings() {
    let text = format!("[global]\ntoken_source = \"literal:hf_secret\"\n{MODEL}");
    let loaded = Loaded::from_toml("a.toml", &text).unwrap();
    assert_eq!(loaded.config.global.token_source, TokenSource::Literal("hf_secret".to_owned()));
    assert!(!loaded.to_toml().contains("secret") && !format!("{:?}", loaded.config).contains("secret"));
    for value in ["[\"literal:hf_secret\"]", "\"litral:hf_secret\"", "\"hf_secret\"", "'hf_secret'"] {
        let broken = messages(&format!("[global]\ntoken_source = {value}\n{MODEL}")).concat();
        assert!(broken.contains("token_source") && !broken.contains("secret"), "{broken}");
    }
    for misplaced in [
        "token_source = \"literal:hf_secret\"\n",
        "[global]\ntoken-source = \"literal:hf_secret\"\n",
        "[global]\nhf_token = 'hf_secret'\n",
        "[global]\nlogin = [\"literal:hf_secret\"]\n",
    ] {
        let broken = messages(&format!("{misplaced}{MODEL}")).concat();
        assert!(broken.contains("= \"***\" is not a known key") && !broken.contains("secret"), "{broken}");
    }
}

/// A document with some keys set to values they take.
fn random_config(choices: &[usize]) -> DaemonConfig {
    let mut config = toml::Table::new();
    let mut chosen = choices.iter().cycle();
    let mut next = || *chosen.next().unwrap();
    for key in keys().iter().filter(|key| key.path != "models.model_id") {
        let values = samples(key);
        if next() % 3 == 0 {
            merge(&mut config, alone(key, values[next() % values.len()].clone()));
        }
    }
    merge(&mut config, alone(key("models.model_id").unwrap(), Value::from("an \"odd\" näme\\")));
    DaemonConfig::deserialize(Value::Table(config)).unwrap()
}

fn merge(into: &mut toml::Table, from: toml::Table) {
    for (name, value) in from {
        match (into.get_mut(&name), value) {
            (Some(Value::Table(into)), Value::Table(from)) => merge(into, from),
            (Some(Value::Array(into)), Value::Array(from)) if name == "models" => {
                if let (Some(Value::Table(into)), Some(Value::Table(from))) = (into.first_mut(), from.first())
                {
                    merge(into, from.clone());
                }
            }
            (_, value) => {
                into.insert(name, value);
            }
        }
    }
}

proptest! {
    #[test]
    fn config_survives_toml(choices in prop::collection::vec(0usize..1000, 200..400)) {
        let config = random_config(&choices);
        let text = toml::to_string(&config).unwrap();
        prop_assert_eq!(toml::from_str::<DaemonConfig>(&text).unwrap(), config);
    }

    #[test]
    fn listing_is_the_same_config(choices in prop::collection::vec(0usize..1000, 200..400)) {
        let config = random_config(&choices);
        let document = Document::parse("a.toml", &toml::to_string(&config).unwrap()).unwrap();
        let listing = Loaded { config: config.clone(), document }.to_toml();
        prop_assert_eq!(toml::from_str::<DaemonConfig>(&listing).unwrap(), config);
    }

    #[test]
    fn hostile_text_gives_errors(text in "[\\[\\]a-z_=\".0-9\n{}, ]{0,200}") {
        let _ = Loaded::from_toml("a.toml", &text);
    }
}
