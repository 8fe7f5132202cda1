//! Which processors the process may use, and pinning a thread to one of them.

use std::sync::atomic::{AtomicUsize, Ordering};

/// The processors that the process (its main thread) may use; never empty.
pub(super) fn allowed() -> Vec<usize> {
    // SAFETY: a set of zeros is an empty set, and the call writes at most its size. The main thread's id
    // is that of the process.
    let (set, result) = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        let result = libc::sched_getaffinity(libc::getpid(), size_of::<libc::cpu_set_t>(), &mut set);
        (set, result)
    };
    let mut cpus = Vec::new();
    if result == 0 {
        // SAFETY: the indices lie inside the set.
        cpus.extend((0..libc::CPU_SETSIZE as usize).filter(|cpu| unsafe { libc::CPU_ISSET(*cpu, &set) }));
    }
    if cpus.is_empty() {
        cpus.extend(0..std::thread::available_parallelism().map_or(1, usize::from));
    }
    cpus
}

/// How many processors the process may use.
pub fn allowed_cpus() -> usize {
    allowed().len()
}

/// Processors for a pool of so many threads, none twice; `None` if the process has fewer. Pools take turns, so that those
/// of several models with few threads each lie side by side.
pub(super) fn take(threads: usize) -> Option<Vec<usize>> {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let allowed = allowed();
    if threads > allowed.len() {
        return None;
    }
    let first = NEXT.fetch_add(threads, Ordering::Relaxed);
    Some(allowed.iter().copied().cycle().skip(first % allowed.len()).take(threads).collect())
}

/// Pins the calling thread. Failure only costs speed.
pub(super) fn pin(cpu: usize) {
    if cpu >= libc::CPU_SETSIZE as usize {
        return;
    }
    // SAFETY: the index lies inside the set, and 0 names the calling thread.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set);
    }
}
