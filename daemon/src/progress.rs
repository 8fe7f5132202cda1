//! A bar on standard error while a model downloads and loads; nothing where that is no terminal.

use indicatif::{ProgressBar, ProgressStyle};
use ostro_server::Progress;

/// Shows the stage it is in.
pub(crate) struct Bar {
    bar: ProgressBar,
}

impl Bar {
    pub(crate) fn new() -> Bar {
        let bar = ProgressBar::new(0);
        let style = ProgressStyle::with_template("{msg:10} {wide_bar} {bytes}/{total_bytes}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Bar { bar }
    }

    pub(crate) fn show(&self, progress: &Progress) {
        if self.bar.message() != progress.stage {
            self.bar.set_message(progress.stage.to_string());
        }
        self.bar.set_length(progress.total);
        self.bar.set_position(progress.done);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
