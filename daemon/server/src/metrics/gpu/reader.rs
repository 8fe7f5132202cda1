//! The one thread that calls NVML, and how scrapes ask it for readings.
//!
//! A thread and not a task of the runtime: a call that a broken driver never returns from would hold the runtime, and
//! so the process, at shutdown. For the same reason nobody joins it; it ends with the last who can ask. Asks queue up
//! to one, since one reading serves all who wait.

use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use nvml_wrapper::Nvml;
use nvml_wrapper::error::NvmlError;
use tokio::sync::watch;

use super::Gpu;

/// Readings younger than this are used again, which leaves a scrape the time to write them.
const REUSED_AGE_MAX: Duration = Duration::from_millis(500);
/// Older readings are not shown.
const SHOWN_AGE_MAX: Duration = Duration::from_secs(1);
/// A scrape goes on without GPUs after it. The first may wait for the library and for drivers that wake up.
const WAIT_MAX: Duration = Duration::from_secs(1);

/// Cheap to clone.
#[derive(Clone, Debug)]
pub(in crate::metrics) struct GpuReader {
    asks: SyncSender<()>,
    readings: watch::Receiver<Readings>,
}

#[derive(Debug, Default)]
pub(super) struct Readings {
    gpus: Vec<Gpu>,
    at: Option<Instant>,
}

impl GpuReader {
    /// Loads `library` (a name or a path) in the background.
    pub(in crate::metrics) fn start(library: &Path) -> GpuReader {
        let (asks, asked) = sync_channel(1);
        let (told, readings) = watch::channel(Readings::default());
        let library = library.to_owned();
        let thread = std::thread::Builder::new().name("ostro-gpus".into());
        if let Err(error) = thread.spawn(move || run(&library, &asked, &told)) {
            tracing::debug!(%error, "no metrics of GPUs: no thread started");
        }
        GpuReader { asks, readings }
    }

    /// Waits for readings that may be shown, within a bound.
    pub(in crate::metrics) async fn refresh(&self) {
        let mut readings = self.readings.clone();
        if readings.borrow_and_update().age_within(REUSED_AGE_MAX) {
            return;
        }
        // A full queue holds an ask that serves this one too; without a thread, the next line returns at once.
        let _ = self.asks.try_send(());
        let _ = tokio::time::timeout(WAIT_MAX, readings.changed()).await;
    }

    pub(super) fn readings(&self) -> watch::Ref<'_, Readings> {
        self.readings.borrow()
    }
}

impl Readings {
    /// None when they are too old.
    pub(super) fn gpus(&self) -> &[Gpu] {
        if self.age_within(SHOWN_AGE_MAX) { &self.gpus } else { &[] }
    }

    fn age_within(&self, max: Duration) -> bool {
        self.at.is_some_and(|at| at.elapsed() <= max)
    }
}

fn run(library: &Path, asked: &Receiver<()>, told: &watch::Sender<Readings>) {
    let nvml = match Nvml::builder().lib_path(library.as_os_str()).init() {
        Ok(nvml) => nvml,
        Err(error) => {
            tracing::debug!(library = %library.display(), %error, "no metrics of GPUs");
            return;
        }
    };
    tracing::debug!(library = %library.display(), "metrics of GPUs come from NVML");
    while asked.recv().is_ok() {
        let gpus = read(&nvml).unwrap_or_default();
        told.send_replace(Readings { gpus, at: Some(Instant::now()) });
    }
}

/// The GPUs that answer. They are counted anew each time, as one may be lost.
fn read(nvml: &Nvml) -> Result<Vec<Gpu>, NvmlError> {
    let read = |index| Gpu::read(index, &nvml.device_by_index(index)?);
    Ok((0..nvml.device_count()?).filter_map(|index| read(index).ok()).collect())
}
