//! The log of one pod's container, line by line.

use std::sync::Arc;

use anyhow::{Context, Result};
use futures::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, LogParams};
use tokio::sync::mpsc::Sender;

use crate::kubectl::explained::explained;

/// A longer line is cut into several.
const LINE_BYTES_MAX: u64 = 1 << 20;

/// A line without its end, and whose it is.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) pod: Arc<str>,
    pub(super) line: Vec<u8>,
}

/// To the end of what there is, or of the container where it is followed.
pub(super) async fn read(
    api: &Api<Pod>,
    (pod, parameters): (&Pod, &LogParams),
    lines: &Sender<Said>,
) -> Result<()> {
    let name: Arc<str> = pod.name_any().into();
    let log = api.log_stream(&name, parameters).await.map_err(explained)?;
    let mut log = std::pin::pin!(log);
    while let Some(line) = next_line(&mut log).await.context("the log breaks off")? {
        if lines.send(Said { pod: name.clone(), line }).await.is_err() {
            // Nobody prints any more.
            break;
        }
    }
    Ok(())
}

async fn next_line(log: &mut (impl AsyncBufRead + Unpin)) -> std::io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    let count = log.take(LINE_BYTES_MAX).read_until(b'\n', &mut line).await?;
    if line.last() == Some(&b'\n') {
        line.pop();
    }
    Ok((count > 0).then_some(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_are_cut_at_their_ends_and_at_a_limit() {
        let long = vec![b'x'; LINE_BYTES_MAX as usize + 1];
        let text = [b"a\n\nb\xff\n".as_slice(), &long, b"\nend"].concat();
        let mut log = futures::io::Cursor::new(text);
        let mut lengths = Vec::new();
        while let Some(line) = next_line(&mut log).await.unwrap() {
            lengths.push(line.len());
        }
        assert_eq!(lengths, [1, 0, 2, LINE_BYTES_MAX as usize, 1, 3]);
    }
}
