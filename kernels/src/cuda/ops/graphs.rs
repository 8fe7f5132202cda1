//! The beginning and the end of a step: small ones without prompt rows are recorded once as a graph, and replayed after.
//!
//! Graphs take memory that nobody reserved. Where the driver refuses one, steps are queued as if there were none.

use cudarc::driver::CudaGraph;
use cudarc::driver::sys::{CUgraphInstantiate_flags, CUstreamCaptureMode};

use super::super::device::{CudaError, During};
use super::super::step::{Products, StepView};
use super::{Cuda, Current, attention};

/// What `begin` found of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Its operations are to be queued.
    Queue,
    /// It was recorded before and is under way.
    Replayed,
}

/// What became of the operations of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    UnderWay,
    /// They could not be recorded: none has run, and all are to be queued once more.
    QueueAgain,
}

/// Whether steps are recorded.
#[derive(Debug)]
pub(super) enum Recording {
    On,
    /// Why, until it was told.
    Off(Option<CudaError>),
}

/// The size of recorded steps: a graph serves every step that fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Bucket {
    pub(super) rows: usize,
    /// Parts of the longest row's keys.
    parts: usize,
}

impl Cuda {
    /// Copies a step to the device. After `Work::Queue` the caller queues its operations, then calls `end`.
    pub fn begin(&mut self, view: &StepView<'_>) -> Result<Work, CudaError> {
        let products = if self.has_wide_products() { Products::ByKind } else { Products::AllNarrow };
        let device = &self.device;
        let state = self.step.as_mut().expect("`reserve` comes before the first step");
        let is_small = state.small.holds(view);
        let table = if is_small { &mut state.small } else { &mut state.large };
        let counts = table.write(view, products, &mut state.blocks);
        table.upload(device)?;
        let addresses = table.addresses();
        if let Err(error) = state.blocks.upload(device) {
            // The next step writes the table on the host anew.
            let _ = device.synchronise();
            return Err(error);
        }
        let longest = view.places.iter().map(|place| place.position).max().unwrap_or(0);
        let parts = (longest as usize / attention::PART + 1).next_power_of_two();
        let rows = view.tokens.len();
        state.current = Current { addresses, counts, grid_rows: rows, parts, recording: None };
        // Every prompt row is in a tile. What is recorded of the head takes it that some row is sampled.
        match is_small && counts.tiles == 0 && counts.sampled > 0 {
            true => self.replay_or_record(Bucket { rows: bucket_rows(rows), parts }),
            false => Ok(Work::Queue),
        }
    }

    fn replay_or_record(&mut self, bucket: Bucket) -> Result<Work, CudaError> {
        let state = self.step.as_mut().expect("`reserve` comes before the first step");
        let mode = CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        let begun = match (state.graphs.get(&bucket), &self.recording) {
            (Some(graph), _) => graph.launch().during("cannot start a step").map(|()| Work::Replayed),
            (None, Recording::Off(_)) => Ok(Work::Queue),
            (None, Recording::On) => {
                let begun = self.device.stream.begin_capture(mode).during("cannot record a step");
                begun.map(|()| {
                    state.current.grid_rows = bucket.rows;
                    state.current.recording = Some(bucket);
                    Work::Queue
                })
            }
        };
        match begun {
            Err(error) if !error.is_lost() => {
                self.stop_recording(bucket, error);
                Ok(Work::Queue)
            }
            begun => begun,
        }
    }

    /// Ends the queue of a step: a recorded one starts now. After `Ended::QueueAgain` its operations are queued once more.
    pub fn end(&mut self) -> Ended {
        let Some(state) = self.step.as_mut() else { return Ended::UnderWay };
        let Some(bucket) = state.current.recording.take() else { return Ended::UnderWay };
        let flags = CUgraphInstantiate_flags::CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH;
        let recorded = self.device.stream.end_capture(flags).during("cannot record a step");
        // An error of an operation is the cause; that of the recording follows from it.
        let started = match self.failed.take() {
            Some(error) => Err(error),
            None => recorded.and_then(start),
        };
        match started {
            Ok(graph) => {
                state.graphs.insert(bucket, graph);
                Ended::UnderWay
            }
            Err(error) if error.is_lost() => {
                self.failed = Some(error);
                Ended::UnderWay
            }
            Err(error) => {
                state.current.grid_rows = state.current.counts.rows as usize;
                self.stop_recording(bucket, error);
                Ended::QueueAgain
            }
        }
    }

    /// Why steps are no longer recorded; once.
    pub fn take_refusal(&mut self) -> Option<CudaError> {
        match &mut self.recording {
            Recording::On => None,
            Recording::Off(reason) => reason.take(),
        }
    }

    /// Steps that were recorded before are replayed on, but for `bucket`.
    fn stop_recording(&mut self, bucket: Bucket, reason: CudaError) {
        if let Some(state) = &mut self.step {
            state.graphs.remove(&bucket);
        }
        if matches!(self.recording, Recording::On) {
            self.recording = Recording::Off(Some(reason));
        }
    }
}

fn start(recorded: Option<CudaGraph>) -> Result<CudaGraph, CudaError> {
    let Some(graph) = recorded else {
        return Err(CudaError::Driver {
            what: "cannot record a step",
            reason: "nothing was recorded".into(),
        });
    };
    graph.launch().during("cannot start a step")?;
    Ok(graph)
}

/// 1, 2, 4, 8, then multiples of 8, 16, 32.
fn bucket_rows(rows: usize) -> usize {
    match rows {
        0..=8 => rows.next_power_of_two(),
        9..=32 => rows.next_multiple_of(8),
        33..=64 => rows.next_multiple_of(16),
        _ => rows.next_multiple_of(32),
    }
}
