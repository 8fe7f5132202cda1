use std::sync::atomic::{AtomicUsize, Ordering::*};

use super::*;

#[test]
fn threads_are_pinned_only_where_they_take_all_processors() {
    let allowed = affinity::allowed();
    assert_eq!(Fit::of(allowed.len() + 1), Fit::Crowded);
    if allowed.len() > 1 {
        assert_eq!(Fit::of(allowed.len() - 1), Fit::Roomy);
    }
    assert_eq!(Fit::of(allowed.len()), Fit::Exact(allowed));
}

#[test]
fn the_caller_gets_a_processor_of_its_own() {
    let threads = affinity::allowed().len();
    let cpus = std::thread::spawn(move || {
        let mut pool = Pool::new(threads);
        pool.pin_caller();
        let cpus: Vec<AtomicUsize> = (0..threads).map(|_| AtomicUsize::new(0)).collect();
        // SAFETY: asks where the thread is.
        pool.run(&|team| cpus[team.id].store(unsafe { libc::sched_getcpu() } as usize, Relaxed));
        cpus.into_iter().map(AtomicUsize::into_inner).collect::<std::collections::BTreeSet<_>>()
    });
    assert_eq!(cpus.join().unwrap().len(), threads);
}

#[test]
fn every_thread_runs_once_a_region_and_shares_cover_all() {
    for threads in [1, 2, 3, 7] {
        let mut pool = Pool::new(threads);
        for total in [0, 1, 5, 100] {
            let hits: Vec<AtomicUsize> = (0..total).map(|_| AtomicUsize::new(0)).collect();
            pool.run(&|team| {
                for i in team.share(total) {
                    hits[i].fetch_add(1, Relaxed);
                }
            });
            assert!(hits.iter().all(|h| h.load(Relaxed) == 1));
        }
    }
}

#[test]
fn a_barrier_separates_writes_from_reads() {
    let mut pool = Pool::new(3);
    let cells: Vec<AtomicUsize> = (0..3).map(|_| AtomicUsize::new(0)).collect();
    pool.run(&|team| {
        for round in 1..2000 {
            cells[team.id].store(round, Relaxed);
            team.barrier();
            assert!(cells.iter().all(|c| c.load(Relaxed) == round));
            team.barrier();
        }
    });
}

#[test]
fn a_panic_reaches_the_caller_and_the_pool_lives_on() {
    let mut pool = Pool::new(3);
    for guilty in 0..3 {
        let caught = catch_unwind(AssertUnwindSafe(|| {
            pool.run(&|team| {
                assert!(team.id != guilty, "thread {guilty} gives up");
                team.barrier();
                unreachable!("the barrier does not let anyone through");
            });
        }));
        let message = caught.unwrap_err().downcast::<String>().unwrap();
        assert_eq!(*message, format!("thread {guilty} gives up"));
        let count = AtomicUsize::new(0);
        pool.run(&|team| {
            team.barrier();
            count.fetch_add(1, Relaxed);
        });
        assert_eq!(count.into_inner(), 3);
    }
}

#[test]
fn parked_threads_wake_up() {
    let mut pool = Pool::new(2);
    let slow = AtomicUsize::new(0);
    pool.run(&|team| {
        if team.id == 0 {
            // Far longer than a thread spins.
            for i in 0..3_000_000 {
                slow.fetch_max(i, Relaxed);
            }
        }
        team.barrier();
        assert_eq!(slow.load(Relaxed), 2_999_999);
    });
}
