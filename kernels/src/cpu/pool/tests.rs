use std::sync::atomic::{AtomicUsize, Ordering::*};
use std::time::{Duration, Instant};

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
fn a_thread_that_is_refused_ends_those_before_it() {
    let (mut started, ended) = (0, Arc::new(AtomicUsize::new(0)));
    let pool = Pool::start(5, |builder, body| {
        if started == 2 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        started += 1;
        let ended = Arc::clone(&ended);
        builder.spawn(move || {
            body();
            ended.fetch_add(1, Relaxed);
        })
    });
    let Err(error) = pool else { panic!("a pool without its last threads") };
    assert_eq!(error.to_string(), "cannot start thread 4 of 5");
    assert_eq!(ended.load(Relaxed), 2);
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

#[test]
fn each_item_is_met_once_whatever_threads_and_states_there_are() {
    for threads in [1, 2, 3, 7] {
        let mut pool = Pool::new(threads);
        for (len, states) in [(0, 1), (1, 1), (2, 1), (5, 2), (100, 3), (100, 9)] {
            let (mut items, mut states) = (vec![0; len], vec![0; states]);
            pool.for_each(&mut items, &mut states, |item, met| {
                *item += 1;
                *met += 1;
            });
            assert_eq!(items, vec![1; len]);
            assert_eq!(states.iter().sum::<usize>(), len);
        }
    }
}

#[test]
#[should_panic(expected = "no thread has a state")]
fn items_that_nobody_would_meet_are_refused() {
    Pool::new(2).for_each(&mut [(); 2], &mut [(); 0], |(), ()| {});
}

#[test]
fn items_are_met_by_threads_at_the_same_time() {
    let deadline = Instant::now() + Duration::from_secs(30);
    let arrived = AtomicUsize::new(0);
    Pool::new(3).for_each(&mut [(); 3], &mut [(); 3], |(), ()| {
        arrived.fetch_add(1, Relaxed);
        while arrived.load(Relaxed) < 3 {
            assert!(Instant::now() < deadline, "the items wait for each other");
            std::thread::yield_now();
        }
    });
}

#[test]
fn a_panic_at_an_item_reaches_the_caller_and_the_pool_lives_on() {
    let mut pool = Pool::new(3);
    for len in [1, 50] {
        let mut items: Vec<usize> = (0..len).collect();
        let mut visit = |guilty: usize| {
            catch_unwind(AssertUnwindSafe(|| {
                pool.for_each(&mut items, &mut [(); 3], |item, ()| assert!(*item != guilty, "no {guilty}"));
            }))
        };
        let message = visit(len - 1).unwrap_err().downcast::<String>().unwrap();
        assert_eq!(*message, format!("no {}", len - 1));
        assert!(visit(len).is_ok());
    }
}
