//! Every request and answer in full, as JSON lines in a file.
//!
//! A thread of its own writes; requests only hand over their bytes. When the file is too slow, entries are dropped
//! and counted: the log never makes a request wait and never grows in memory.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use prometheus_client::metrics::counter::Counter;
use serde_json::json;

const ENTRIES_MAX: usize = 4096;
const BYTES_MAX: usize = 64 << 20;

/// Cheap to clone. The file is complete once the last clone is dropped and its thread has ended.
#[derive(Clone, Debug)]
pub(crate) struct PayloadLog {
    messages: SyncSender<Message>,
    bytes_queued: Arc<AtomicUsize>,
    dropped: Counter,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PayloadKind {
    Request {
        method: &'static str,
        path: Arc<str>,
    },
    /// A piece of the answer: all of it, or one event of a stream.
    Response,
}

/// All that the writing thread is told.
#[derive(Debug)]
enum Message {
    Entry(Entry),
    /// Dropped once everything before it is in the file.
    Flush(SyncSender<()>),
}

#[derive(Debug)]
struct Entry {
    time: SystemTime,
    request_id: Arc<str>,
    kind: PayloadKind,
    body: Bytes,
}

impl PayloadLog {
    /// Opens `path` to append and starts the writing thread. `dropped` counts lost entries.
    ///
    /// # Errors
    /// The file cannot be opened, or no thread started.
    pub(crate) fn open(path: &Path, dropped: Counter) -> io::Result<PayloadLog> {
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
        let (sender, receiver) = sync_channel(ENTRIES_MAX);
        let bytes_queued = Arc::new(AtomicUsize::new(0));
        let log = PayloadLog { messages: sender, bytes_queued: bytes_queued.clone(), dropped };
        let lost = log.dropped.clone();
        std::thread::Builder::new()
            .name("ostro-payloads".into())
            .spawn(move || write_all(file, &receiver, &bytes_queued, &lost))?;
        Ok(log)
    }

    /// Never waits.
    pub(crate) fn record(&self, request_id: &Arc<str>, kind: PayloadKind, body: Bytes) {
        let size = body.len();
        let fits = self.bytes_queued.fetch_add(size, Ordering::AcqRel) + size <= BYTES_MAX;
        let entry = Entry { time: SystemTime::now(), request_id: request_id.clone(), kind, body };
        if !fits || self.messages.try_send(Message::Entry(entry)).is_err() {
            self.bytes_queued.fetch_sub(size, Ordering::AcqRel);
            self.dropped.inc();
        }
    }

    /// Waits until all that was recorded is in the file, for `limit` at most. Blocks.
    pub(crate) fn flush(&self, limit: Duration) {
        let (flushing, flushed) = sync_channel(0);
        if self.messages.send(Message::Flush(flushing)).is_ok() {
            // Ends by disconnection.
            let _ = flushed.recv_timeout(limit);
        }
    }
}

/// Ends when the last sender is gone. A failed write loses that entry only: the disk may have room again later.
fn write_all(file: File, messages: &Receiver<Message>, bytes_queued: &AtomicUsize, lost: &Counter) {
    let mut writer = BufWriter::new(file);
    while let Ok(first) = messages.recv() {
        let mut batch_failed = false;
        let mut waiting = Vec::new();
        for message in std::iter::once(first).chain(messages.try_iter().take(ENTRIES_MAX)) {
            let entry = match message {
                Message::Entry(entry) => entry,
                Message::Flush(done) => {
                    waiting.push(done);
                    continue;
                }
            };
            bytes_queued.fetch_sub(entry.body.len(), Ordering::AcqRel);
            if let Err(error) = write_entry(&mut writer, &entry) {
                lost.inc();
                batch_failed |= report(&error, batch_failed);
            }
        }
        if let Err(error) = writer.flush() {
            report(&error, batch_failed);
        }
    }
}

/// Says so once a batch.
fn report(error: &io::Error, said: bool) -> bool {
    if !said {
        tracing::warn!(%error, "the payload log could not be written");
    }
    true
}

fn write_entry(writer: &mut impl Write, entry: &Entry) -> io::Result<()> {
    let time = entry.time.duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64());
    let (id, body) = (entry.request_id.as_ref(), String::from_utf8_lossy(&entry.body));
    let line = match &entry.kind {
        PayloadKind::Request { method, path } => json!({
            "time": time, "request_id": id, "kind": "request", "method": method, "path": path, "body": body,
        }),
        PayloadKind::Response => json!({"time": time, "request_id": id, "kind": "response", "body": body}),
    };
    writeln!(writer, "{line}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_json_lines_and_too_many_bytes_are_counted_as_lost() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("payloads.jsonl");
        let dropped = Counter::default();
        let log = PayloadLog::open(&path, dropped.clone()).unwrap();
        let id: Arc<str> = "req_1".into();
        let request = PayloadKind::Request { method: "POST", path: "/v1/completions".into() };
        log.record(&id, request, Bytes::from_static(b"{\"a\":\"\n\"}"));
        log.record(&id, PayloadKind::Response, Bytes::from(vec![b'x'; BYTES_MAX + 1]));
        log.record(&id, PayloadKind::Response, Bytes::from_static(b"data: {}\n\n"));
        log.flush(Duration::from_secs(30));
        let lines = || std::fs::read_to_string(&path).unwrap().lines().map(str::to_owned).collect::<Vec<_>>();
        let read: Vec<serde_json::Value> =
            lines().iter().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!((&read[0]["kind"], &read[0]["body"]), (&json!("request"), &json!("{\"a\":\"\n\"}")));
        assert_eq!((&read[1]["kind"], &read[1]["body"]), (&json!("response"), &json!("data: {}\n\n")));
        assert_eq!(read[0]["request_id"], "req_1");
        assert_eq!((&read[0]["method"], &read[0]["path"]), (&json!("POST"), &json!("/v1/completions")));
        assert_eq!(dropped.get(), 1);
    }
}
