//! Files in, options of engine and server out.

use ostro_engine::memory::Memory;
use ostro_engine::text::{TextError, TextModel};
use ostro_engine::tiny::{TinyFamily, TinyModel};

use super::*;

fn plan_of(text: &str) -> Plan {
    plan(Loaded::from_toml("a.toml", text).unwrap(), None, DeviceChoice::Auto)
}

#[test]
fn defaults_are_the_engines_own() {
    let plan = plan_of("[[models]]\nmodel_id = \"m\"\n");
    let engine = &plan.models[0].engine;
    assert_eq!(engine.schedule, ScheduleOptions::default());
    assert_eq!(engine.cache, CacheOptions::default());
    assert_eq!((engine.threads, engine.context_len), (None, None));
    assert_eq!((plan.server.host.as_str(), plan.server.port), ("0.0.0.0", 1234));
}

#[test]
fn keys_reach_their_option() {
    let plan = plan_of(
        "[runtime]\nmax_seqs = 8\nmax_num_batched_tokens = 64\nprefix_cache_n = 0\nthreads = 3\n\
         chat_template = \"all.jinja\"\n[paged_attn]\nmemory_mb = 100\nblock_size = 16\ncache_type = \"bf16\"\n\
         [server]\nport = 0\ndisable_metrics = true\naccess_log_format = \"json\"\n[global]\nseed = 7\n\
         [[models]]\nmodel_id = \"m\"\nchat_template = \"own.jinja\"\n\
         device = { max_seq_len = 512, max_batch_size = 2 }\n\
         [[models]]\nmodel_id = \"n\"\nhf_revision = \"v1\"\nformat.quantized_file = \"q.gguf\"\n",
    );
    let [m, n] = plan.models.as_slice() else { panic!("two models") };
    assert_eq!((m.engine.schedule.sequences_max, n.engine.schedule.sequences_max), (2, 8));
    assert_eq!(m.engine.schedule.tokens_per_step, Some(64));
    assert_eq!((m.engine.schedule.prefix_cache_n, m.engine.threads), (0, Some(3)));
    assert_eq!((m.engine.context_len, n.engine.context_len), (Some(512), None));
    assert_eq!(m.engine.text.chat_template, Some(PathBuf::from("own.jinja")));
    assert_eq!(n.engine.text.chat_template, Some(PathBuf::from("all.jinja")));
    let cache = CacheOptions { cache_type: CacheType::Bf16, block_size: 16, size: CacheSize::Megabytes(50) };
    assert_eq!(m.engine.cache, cache);
    assert_eq!((n.revision.as_deref(), n.file.as_deref(), n.seed), (Some("v1"), Some("q.gguf"), Some(7)));
    assert!(!plan.server.router.metrics && plan.server.router.access_log);
    assert_eq!(plan.access_log, AccessLogFormat::Json);
}

#[test]
fn models_know_what_others_were_promised_of_memory() {
    let plan = plan_of("[[models]]\nmodel_id = \"m\"\n[[models]]\nmodel_id = \"n\"\n");
    let [m, n] = plan.models.as_slice() else { panic!("two models") };
    let memory = Memory { available_bytes: Some(9), resident_bytes: Some(0), ..Memory::default() };
    let _promise = m.engine.memory.promise(&memory, 5);
    assert_eq!(n.engine.memory.left(memory).available_bytes, Some(4));
}

#[test]
fn effort_has_one_word_for_each_degree() {
    for (written, handed) in [("none", "none"), ("minimal", "minimal"), ("xhigh", "max"), ("max", "max")] {
        let text =
            format!("command = \"run\"\nreasoning_effort = {written:?}\n[[models]]\nmodel_id = \"m\"\n");
        assert_eq!(plan_of(&text).chat.reasoning_effort, Some(handed));
    }
}

#[test]
fn only_models_that_are_told_to_run_on_the_cpu_do_without_a_required_gpu() {
    let text = "[[models]]\nmodel_id = \"m\"\ndevice.cpu = true\n[[models]]\nmodel_id = \"n\"\n";
    let devices = |text: &str, device| {
        let plan = plan(Loaded::from_toml("a.toml", text).unwrap(), None, device);
        plan.models.iter().map(|model| model.engine.device).collect::<Vec<_>>()
    };
    for device in [DeviceChoice::Auto, DeviceChoice::Gpu] {
        assert_eq!(devices(text, device), [DeviceChoice::Cpu, device]);
    }
    let own = "[[models]]\nmodel_id = \"m\"\ndevice.cpu = false\n";
    assert_eq!(devices(own, DeviceChoice::Gpu), [DeviceChoice::Gpu]);
}

/// The rule stands in the configuration, which knows no engine, and in the engine.
#[test]
fn names_of_chat_templates_are_refused_by_both_or_by_none() {
    let folder = tempfile::tempdir().unwrap();
    TinyModel::new(TinyFamily::Llama).write_directory(folder.path()).unwrap();
    let names =
        ["a.jinja", "a.jinja2", "a.j2", "a.json", "a.b.json", "a.txt", "a.JSON", "a.jinja.b", "jinja", ".j2"];
    for name in names {
        let file = folder.path().join(name);
        // A text of Jinja and of JSON.
        std::fs::write(&file, "\"hi\"").unwrap();
        let text = format!("[[models]]\nmodel_id = \"m\"\nchat_template = {name:?}\n");
        let refused = Loaded::from_toml("a.toml", &text).is_err();
        let overrides = TextOverrides { chat_template: Some(file), ..TextOverrides::default() };
        let read = TextModel::from_dir(folder.path(), &overrides);
        assert_eq!(refused, matches!(read, Err(TextError::TemplateName(_))), "{name}");
    }
}
