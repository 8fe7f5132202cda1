//! Every question and answer of a chat, as JSON lines in the file that `global.log` names.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

pub(crate) struct ChatLog {
    file: File,
}

impl ChatLog {
    /// Appends to what is there. A new file is for its owner alone, as that of a server: it has all that was said.
    pub(crate) fn open(path: &Path) -> io::Result<ChatLog> {
        Ok(ChatLog { file: OpenOptions::new().create(true).append(true).mode(0o600).open(path)? })
    }

    pub(super) fn record(&mut self, messages: &[Value], answer: &str) -> io::Result<()> {
        let time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64());
        writeln!(self.file, "{}", json!({ "time": time, "messages": messages, "answer": answer }))
    }
}
