//! The engine's thread from its first moment: it builds the model, reports, then runs the step loop.
//!
//! The model is built where it is used because the kernels' backend may pin that thread.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc::{Sender, sync_channel};
use std::time::Duration;
use std::{io, sync::Mutex};

use ostro_kernels::cpu::isa::Isa;

use super::Shared;
use crate::backend::BackendError;
use crate::device::NoGpu;
use crate::forward::Model;
use crate::info::{LoadProgress, ModelInfo};
use crate::load::OptionError;
use crate::memory::MemoryError;
use crate::model::decoder::WeightsError;
use crate::model::families::FamilyError;
use crate::model::roles::RoleError;
use crate::schedule::{OptionsError, Scheduler, SchedulerOptions};
use crate::stats::StatsBoard;
use crate::step_loop::{Inbox, StepLoop};
use crate::text::{TextError, TextModel};
use crate::weights::OpenError;
use crate::weights::gguf::MetadataError;

/// What an engine is made of.
pub struct EngineParts {
    pub model: Box<dyn Model>,
    pub text: Arc<TextModel>,
    /// `context_len` is lowered to what the cache holds, `load_seconds` is filled in.
    pub info: ModelInfo,
    pub schedule: SchedulerOptions,
    /// For what the processor computes beside the model: sampling.
    pub isa: Isa,
    /// The engine counts as failed while a step takes longer: its device or its threads stand still.
    pub step_limit: Duration,
}

/// Why an engine did not start.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error(transparent)]
    Option(#[from] OptionError),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Family(#[from] FamilyError),
    #[error("the file's metadata")]
    Metadata(#[from] MetadataError),
    #[error(transparent)]
    Text(#[from] TextError),
    #[error("the model's tensors")]
    Roles(#[from] RoleError),
    #[error(transparent)]
    Weights(#[from] WeightsError),
    #[error(transparent)]
    Memory(#[from] MemoryError),
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// Of `DeviceChoice::Gpu`.
    #[error("the model must run on a GPU")]
    Device(#[from] NoGpu),
    #[error("the engine's schedule")]
    Schedule(#[from] OptionsError),
    #[error("cannot start the engine's thread")]
    Thread(#[source] io::Error),
    #[error("loading the model failed: {0}")]
    Panic(String),
}

/// What the thread tells whoever waits for it.
pub(super) enum News {
    Progress(LoadProgress),
    /// All but its thread and how long it took.
    Ready(Box<Shared>),
    Failed(LoadError),
}

/// The thread's body.
pub(super) fn serve(
    build: impl FnOnce(&dyn Fn(LoadProgress)) -> Result<EngineParts, LoadError>,
    news: &Sender<News>,
) {
    // Nobody listens any more when the loader has panicked; then there is nobody to tell either.
    let tell = |message| {
        let _ = news.send(message);
    };
    let built = build(&|progress| tell(News::Progress(progress))).and_then(assemble);
    match built {
        Err(error) => tell(News::Failed(error)),
        Ok((shared, step_loop)) => {
            tell(News::Ready(Box::new(shared)));
            step_loop.run();
        }
    }
}

fn assemble(parts: EngineParts) -> Result<(Shared, StepLoop), LoadError> {
    let EngineParts { model, text, mut info, mut schedule, isa, step_limit } = parts;
    let live_max = schedule.max_seqs.saturating_add(schedule.waiting_max);
    // Live sequences are counted where they are submitted; the scheduler need not refuse any.
    schedule.waiting_max = live_max;
    let scheduler = Scheduler::new(schedule)?;
    let holds = scheduler.sequence_tokens_max() as u32;
    if holds < info.context_len {
        tracing::warn!(
            wanted = info.context_len,
            holds,
            "the key-value cache holds less than the context, longer requests are refused; context_len, memory_mb or \
             memory_fraction of paged_attn make it larger, max_seq_len asks for less"
        );
    }
    info.context_len = holds;
    let (commands, receiver) = sync_channel(live_max.saturating_add(1));
    let (board, abandoned) = (Arc::new(StatsBoard::new(step_limit)), Arc::<AtomicU64>::default());
    let inbox = Inbox { commands: receiver, abandoned: abandoned.clone(), board: board.clone() };
    let step_loop = StepLoop::new(model, scheduler, isa, inbox);
    let (live, thread) = (Arc::default(), Mutex::default());
    Ok((Shared { info, text, commands, board, abandoned, live, live_max, thread }, step_loop))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::load;
    use crate::options::{CacheSize, DeviceChoice, EngineOptions};
    use crate::tiny::{TinyFamily, TinyModel};

    #[test]
    fn a_cache_that_holds_less_than_the_context_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let model = folder.path().join("tiny.gguf");
        TinyModel::new(TinyFamily::Llama).write_gguf(&model).unwrap();
        let mut options = EngineOptions::new(model);
        (options.threads, options.device) = (Some(1), DeviceChoice::Cpu);
        let log = tempfile::NamedTempFile::new().unwrap();
        let writer = Arc::new(log.reopen().unwrap());
        // While there is one subscriber only, a place of logging that a thread without it reaches first is off for good.
        let _second = tracing::Dispatch::new(tracing_subscriber::registry());
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(writer).finish();
        let _guard = tracing::subscriber::set_default(subscriber);
        let mut warnings = |tokens| {
            options.cache.size = CacheSize::ContextLen(tokens);
            assemble(load(&options, &|_| ()).unwrap()).unwrap();
            let text = std::fs::read_to_string(log.path()).unwrap();
            text.lines()
                .filter(|line| line.contains("WARN") && line.contains("cache"))
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        assert!(warnings(512).is_empty());
        let told = warnings(64);
        assert!(told.len() == 1 && told[0].ends_with("wanted=512 holds=65"), "{told:?}");
    }
}
