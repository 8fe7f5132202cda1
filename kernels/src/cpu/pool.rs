//! A thread pool, pinned where it takes all processors, whose waits spin briefly, then park on a futex.
//!
//! [`Pool::run`] starts one *region* on every thread (the caller is thread 0); [`Team::barrier`] lies
//! between phases inside it. A barrier costs one exchange of a cache line (75 ns measured), a region two
//! plus a wake-up when threads had parked (30 us and up). A panic of any thread ends the region on all of
//! them and goes on in the caller.

use std::any::Any;
use std::cell::UnsafeCell;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::*};
use std::sync::{Arc, Mutex};
use std::thread::{Builder, JoinHandle};

use thiserror::Error;

mod affinity;
mod event;
#[cfg(test)]
mod tests;

use affinity::Fit;
use event::Event;

/// Two lines: processors fetch them in pairs.
#[derive(Default)]
#[repr(align(128))]
pub(crate) struct Line<T>(pub(crate) T);

type Job = *const (dyn Fn(Team<'_>) + Sync);

struct Shared {
    threads: usize,
    spin: event::Spin,
    /// One region more.
    start: Line<Event>,
    /// Threads at the current barrier.
    arrived: Line<AtomicUsize>,
    /// One barrier more.
    release: Line<Event>,
    /// Workers that have finished the region.
    done: Line<Event>,
    job: Line<UnsafeCell<Option<Job>>>,
    quit: AtomicBool,
    /// A thread of the region has panicked.
    panicked: AtomicBool,
    payload: Mutex<Option<Box<dyn Any + Send>>>,
}

// SAFETY: `job` is written by the caller of `run` between regions only, while no worker reads it (`done`
// has counted them all), and read after `start` was raised.
unsafe impl Sync for Shared {}
// SAFETY: the job's pointer is used only while `run`, which borrows the closure, has not returned.
unsafe impl Send for Shared {}

/// What a thread inside a region knows.
#[derive(Clone, Copy)]
pub struct Team<'a> {
    /// Of this thread, in 0..threads.
    pub id: usize,
    pub threads: usize,
    shared: &'a Shared,
}

/// A persistent team of threads.
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    fit: Fit,
}

/// The system refuses a thread.
#[derive(Debug, Error)]
#[error("cannot start thread {thread} of {threads}")]
pub struct ThreadError {
    /// From 2 on: the first is the caller.
    pub thread: usize,
    pub threads: usize,
    pub source: io::Error,
}

/// Of a worker.
type Body = Box<dyn FnOnce() + Send>;

/// What waiting threads panic with when another one has: not worth reporting itself.
struct Abandoned;

impl Pool {
    /// A pool of `threads` (at least 1), the caller of [`Pool::run`] among them. Workers are pinned to
    /// their own processors where the process is allowed just as many; the caller is by [`Pool::pin_caller`].
    ///
    /// # Panics
    /// If a thread cannot be started; [`Pool::try_new`] returns the error.
    pub fn new(threads: usize) -> Self {
        Self::try_new(threads).expect("threads that compute")
    }

    pub fn try_new(threads: usize) -> Result<Self, ThreadError> {
        Self::start(threads, |builder, body| builder.spawn(body))
    }

    fn start(
        threads: usize,
        mut spawn: impl FnMut(Builder, Body) -> io::Result<JoinHandle<()>>,
    ) -> Result<Self, ThreadError> {
        let threads = threads.max(1);
        let fit = Fit::of(threads);
        let shared = Arc::new(Shared {
            threads,
            spin: if fit == Fit::Crowded { event::Spin::None } else { event::Spin::Brief },
            start: Line(Event::new()),
            arrived: Line(AtomicUsize::new(0)),
            release: Line(Event::new()),
            done: Line(Event::new()),
            job: Line(UnsafeCell::new(None)),
            quit: AtomicBool::new(false),
            panicked: AtomicBool::new(false),
            payload: Mutex::new(None),
        });
        // A pool already: where a thread is refused, dropping it ends those before.
        let mut pool = Self { shared, workers: Vec::with_capacity(threads - 1), fit };
        for id in 1..threads {
            let (shared, fit) = (Arc::clone(&pool.shared), pool.fit.clone());
            let body: Body = Box::new(move || {
                fit.pin(id);
                work(id, &shared);
            });
            let worker = spawn(Builder::new().name(format!("ostro-compute-{id}")), body);
            pool.workers.push(worker.map_err(|source| ThreadError { thread: id + 1, threads, source })?);
        }
        Ok(pool)
    }

    pub fn threads(&self) -> usize {
        self.shared.threads
    }

    /// Pins the calling thread beside the workers: elsewhere it would meet them on their processors. For a thread that does
    /// nothing but call [`Pool::run`], and not the main thread: threads that it starts inherit the pinning, and
    /// what processors the process may use is read off the main thread.
    pub fn pin_caller(&self) {
        self.fit.pin(0);
    }

    /// Runs `f` on every thread and returns when all are done.
    ///
    /// # Panics
    /// With the panic of `f`, if it panicked on any thread.
    pub fn run(&mut self, f: &(dyn Fn(Team<'_>) + Sync)) {
        let shared = &*self.shared;
        let workers = shared.threads as u32 - 1;
        let done_before = shared.done.0.value();
        if workers > 0 {
            // SAFETY: no worker is in a region (`&mut self`, and the last `run` waited for all), so
            // nobody reads `job`. The erased lifetime ends after the wait below.
            unsafe {
                let job = std::mem::transmute::<*const (dyn Fn(Team<'_>) + Sync + '_), Job>(f);
                *shared.job.0.get() = Some(job);
            }
            shared.start.0.raise();
        }
        let team = Team { id: 0, threads: shared.threads, shared };
        guarded(shared, || f(team));
        shared.done.0.wait_for(done_before.wrapping_add(workers), shared.spin);
        if shared.panicked.load(Acquire) {
            self.rethrow();
        }
    }

    /// Calls `f` with every item, each on the thread that is free first, and with that thread's state; threads beyond the
    /// states have no part. A lone item is the caller's, which spares the others a wake-up.
    ///
    /// # Panics
    /// With the panic of `f`, if it panicked on any thread; and without a state.
    pub fn for_each<T: Send, S: Send>(
        &mut self,
        items: &mut [T],
        states: &mut [S],
        f: impl Fn(&mut T, &mut S) + Sync,
    ) {
        assert!(!states.is_empty(), "no thread has a state");
        if items.len() < 2 {
            return items.iter_mut().for_each(|item| f(item, &mut states[0]));
        }
        let items = Mutex::new(items.iter_mut());
        let states: Vec<_> = states.iter_mut().map(Mutex::new).collect();
        let next = || items.lock().unwrap_or_else(|e| e.into_inner()).next();
        self.run(&|team| {
            let Some(state) = states.get(team.id) else { return };
            let mut state = state.lock().unwrap_or_else(|e| e.into_inner());
            while let Some(item) = next() {
                f(item, &mut state);
            }
        });
    }

    fn rethrow(&mut self) -> ! {
        let shared = &*self.shared;
        shared.arrived.0.store(0, Relaxed);
        shared.panicked.store(false, Relaxed);
        let payload = shared.payload.lock().unwrap_or_else(|e| e.into_inner()).take();
        resume_unwind(payload.unwrap_or_else(|| Box::new("a thread of the pool panicked")))
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.quit.store(true, Release);
        self.shared.start.0.raise();
        for worker in self.workers.drain(..) {
            // A worker catches the panics of its regions, so there is none to pass on.
            let _ = worker.join();
        }
    }
}

impl Team<'_> {
    /// All threads meet here; what was written before is visible to all after it.
    #[inline]
    pub fn barrier(&self) {
        let shared = self.shared;
        if shared.threads == 1 {
            return;
        }
        let before = shared.release.0.value();
        // After reading `before`: a panic whose wake-up came earlier is seen here, a later one ends the wait.
        if shared.panicked.load(Acquire) {
            resume_unwind(Box::new(Abandoned));
        }
        if shared.arrived.0.fetch_add(1, AcqRel) + 1 == shared.threads {
            shared.arrived.0.store(0, Relaxed);
            shared.release.0.raise();
        } else {
            shared.release.0.wait_change(before, shared.spin);
        }
        shared.leave_if_panicked();
    }

    /// This thread's share of `0..total`: contiguous, so that each thread streams its own addresses.
    #[inline]
    pub fn share(&self, total: usize) -> std::ops::Range<usize> {
        total * self.id / self.threads..total * (self.id + 1) / self.threads
    }
}

impl Shared {
    #[inline]
    fn leave_if_panicked(&self) {
        if self.panicked.load(Acquire) {
            resume_unwind(Box::new(Abandoned));
        }
    }
}

/// A worker's life.
fn work(id: usize, shared: &Shared) {
    let mut regions = 0;
    loop {
        shared.start.0.wait_change(regions, shared.spin);
        regions = regions.wrapping_add(1);
        if shared.quit.load(Acquire) {
            return;
        }
        // SAFETY: `run` wrote the job before it raised `start`, and keeps it alive until this worker has
        // raised `done`.
        let job = unsafe { &*(*shared.job.0.get()).expect("a region has a job") };
        guarded(shared, || job(Team { id, threads: shared.threads, shared }));
        shared.done.0.raise();
    }
}

/// Runs one thread's part; a panic is kept for the caller, and wakes those who wait at a barrier.
fn guarded(shared: &Shared, part: impl FnOnce()) {
    let Err(payload) = catch_unwind(AssertUnwindSafe(part)) else { return };
    if !payload.is::<Abandoned>() {
        shared.payload.lock().unwrap_or_else(|e| e.into_inner()).get_or_insert(payload);
    }
    shared.panicked.store(true, Release);
    shared.release.0.raise();
}
