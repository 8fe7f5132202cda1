//! Log lines on their way to standard error, by a thread of their own: a reader that stalls (a full pipe, a disk that
//! hangs) holds up no request. Where too many lines wait, further ones are lost, and in their place stands how many.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use tracing_subscriber::fmt::MakeWriter;

/// Lines that wait: some megabytes at most, and seconds of a busy server's access log.
const LINES_MAX: usize = 8192;

/// What is said of a number of them.
const LOST: &str = " log lines were lost: those before them were not read";

/// Between two looks for a place in the queue.
const RETRY_TIME: Duration = Duration::from_millis(2);

/// Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct LogWriter {
    messages: SyncSender<Message>,
    /// Since the last line that was accepted.
    lost: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Message {
    Line {
        /// Lines between the accepted one before and this one.
        lost_before: u64,
        text: Vec<u8>,
    },
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
        thread::Builder::new().name("ostro-log".into()).spawn(write)?;
        Ok(writer)
    }

    /// Takes a line, with its end; where too many wait, it is lost and counted.
    pub(super) fn send(&self, text: Vec<u8>) {
        let lost_before = self.lost.swap(0, Ordering::Relaxed);
        if self.messages.try_send(Message::Line { lost_before, text }).is_err() {
            self.lost.fetch_add(lost_before + 1, Ordering::Relaxed);
        }
    }

    /// Blocks until what was logged is written, for `limit` at most. Whether it was: `false` where the reader stalls.
    pub(super) fn flush(&self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        let (done, written) = sync_channel(1);
        let mut message = Message::Flush(done);
        while let Err(refused) = self.messages.try_send(message) {
            let TrySendError::Full(flush) = refused else { return false };
            if Instant::now() >= deadline {
                return false;
            }
            thread::sleep(RETRY_TIME);
            message = flush;
        }
        written.recv_timeout(deadline.saturating_duration_since(Instant::now())).is_ok()
    }
}

fn write_all(mut output: impl Write, messages: &Receiver<Message>, lost: &AtomicU64) {
    // Where it cannot be written, there is nobody to tell.
    let mut write = |text: &[u8]| {
        let _ = output.write_all(text);
    };
    while let Ok(message) = messages.recv() {
        let (lost, text, done) = match message {
            Message::Line { lost_before, text } => (lost_before, text, None),
            Message::Flush(done) => (lost.swap(0, Ordering::Relaxed), Vec::new(), Some(done)),
        };
        if lost > 0 {
            write(format!("{lost}{LOST}\n").as_bytes());
        }
        write(&text);
        if let Some(done) = done {
            let _ = done.send(());
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
        if !line.is_empty() {
            self.writer.send(line);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    /// More than may wait, by this number.
    const EXCESS: usize = 10;

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

    /// A writer with more lines than may wait, of which none is written; the leave to write one, or by its end all; what
    /// is written.
    fn overfull() -> (LogWriter, SyncSender<()>, Arc<Mutex<Vec<u8>>>) {
        let (leave, may_write) = sync_channel(0);
        let written = Arc::<Mutex<Vec<u8>>>::default();
        let writer = LogWriter::to(Stalled { may_write, written: written.clone() }).unwrap();
        (0..LINES_MAX + EXCESS).for_each(|line| writeln!(writer.make_writer(), "line {line}").unwrap());
        (writer, leave, written)
    }

    /// The lines that were logged at first, how many are said to be lost behind them, and what follows.
    fn parts(written: &Mutex<Vec<u8>>) -> (usize, usize, Vec<String>) {
        let written = String::from_utf8(written.lock().unwrap().clone()).unwrap();
        let mut lines = written.lines().skip_while(|line| line.starts_with("line "));
        let lost = lines.next().and_then(|line| line.strip_suffix(LOST)).expect("some were lost");
        let first = written.lines().take_while(|line| line.starts_with("line ")).count();
        (first, lost.parse().unwrap(), lines.map(str::to_owned).collect())
    }

    #[test]
    fn lost_lines_are_counted_where_they_would_stand() {
        let (writer, leave, written) = overfull();
        // The second line has left the queue: there is a place.
        (0..2).for_each(|_| leave.send(()).unwrap());
        writeln!(writer.make_writer(), "after").unwrap();
        drop(leave);
        assert!(writer.flush(PATIENCE));
        let (first, lost, rest) = parts(&written);
        assert_eq!((first + lost, rest), (LINES_MAX + EXCESS, vec!["after".to_owned()]));
        // One of the first was being written, or was yet to be.
        assert!((EXCESS - 1..=EXCESS).contains(&lost), "{lost}");
    }

    #[test]
    fn flush_waits_for_a_full_queue_and_tells_what_was_lost_last() {
        let (writer, leave, written) = overfull();
        assert!(!writer.flush(Duration::from_millis(10)), "nothing is written");
        let reader = thread::spawn(move || {
            thread::sleep(Duration::from_millis(100));
            drop(leave);
        });
        assert!(writer.flush(PATIENCE));
        let (first, lost, rest) = parts(&written);
        assert_eq!((first + lost, rest), (LINES_MAX + EXCESS, vec![]));
        reader.join().unwrap();
    }
}
