//! Log lines on their way to standard error, by a thread of their own: a reader that stalls (a full pipe, a disk that
//! hangs) holds up no request. Where too many lines wait, further ones are lost, and the next that is written says how many.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

/// Lines that wait: some megabytes at most, and seconds of a busy server's access log.
const LINES_MAX: usize = 8192;

/// What is said of a number of them.
const LOST: &str = " log lines were lost: those before them were not read";

/// Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct LogWriter {
    messages: SyncSender<Message>,
    lost: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Message {
    Line(Vec<u8>),
    Flush(SyncSender<()>),
}

impl LogWriter {
    /// # Errors
    /// No thread can be started.
    pub(super) fn to(output: impl Write + Send + 'static) -> io::Result<LogWriter> {
        let (messages, receiver) = sync_channel(LINES_MAX);
        let lost = Arc::<AtomicU64>::default();
        let writer = LogWriter { messages, lost: lost.clone() };
        let write = move || write_all(output, &receiver, &lost);
        std::thread::Builder::new().name("ostro-log".into()).spawn(write)?;
        Ok(writer)
    }

    /// Blocks until what was logged is written, for `limit` at most, and not at all where lines are lost.
    pub(super) fn flush(&self, limit: Duration) {
        let (done, written) = sync_channel(1);
        if self.messages.try_send(Message::Flush(done)).is_ok() {
            let _ = written.recv_timeout(limit);
        }
    }
}

fn write_all(mut output: impl Write, messages: &Receiver<Message>, lost: &AtomicU64) {
    while let Ok(message) = messages.recv() {
        match message {
            Message::Line(line) => {
                // Where it cannot be written, there is nobody to tell.
                let _ = output.write_all(&line);
                let lost = lost.swap(0, Ordering::Relaxed);
                if lost > 0 {
                    let _ = writeln!(output, "{lost}{LOST}");
                }
            }
            Message::Flush(done) => {
                let _ = done.send(());
            }
        }
    }
}

impl<'a> MakeWriter<'a> for LogWriter {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line { writer: self, bytes: Vec::new() }
    }
}

/// One line, sent when it is complete.
pub(super) struct Line<'a> {
    writer: &'a LogWriter,
    bytes: Vec<u8>,
}

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        let line = std::mem::take(&mut self.bytes);
        if !line.is_empty() && self.writer.messages.try_send(Message::Line(line)).is_err() {
            self.writer.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc::channel;
    use std::time::Instant;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    /// Takes nothing before it may.
    struct Stalled {
        may_write: Receiver<()>,
        written: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Stalled {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // An end of the channel is leave too.
            let _ = self.may_write.recv();
            self.written.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_beyond_those_that_may_wait_are_lost_and_counted() {
        let (leave, may_write) = channel();
        let written = Arc::<Mutex<Vec<u8>>>::default();
        let writer = LogWriter::to(Stalled { may_write, written: written.clone() }).unwrap();
        let logged = LINES_MAX + 10;
        (0..logged).for_each(|line| writeln!(writer.make_writer(), "line {line}").unwrap());
        drop(leave);
        let began = Instant::now();
        let lost = loop {
            writer.flush(PATIENCE);
            let written = String::from_utf8(written.lock().unwrap().clone()).unwrap();
            let lines = written.lines().filter(|line| line.starts_with("line ")).count();
            let lost = written.lines().find_map(|line| line.strip_suffix(LOST)?.trim().parse::<usize>().ok());
            match lost {
                Some(lost) if lines + lost == logged => break lost,
                _ => assert!(began.elapsed() < PATIENCE, "{lines} lines, {lost:?} lost"),
            }
        };
        // One was being written, or was yet to be.
        assert!((9..=10).contains(&lost), "{lost}");
    }
}
