//! The floor of everything that streams weights: a plain read of as many bytes, on all threads, in huge pages. Many
//! bytes are read as several turns through fewer, which must fit beside the model.

use std::hint::black_box;
use std::iter::repeat_n;
use std::time::Instant;

use super::isa::Isa;
use super::memory::{AllocError, HugeBuffer};
use super::pool::Pool;
use super::simd::{Kernel, Simd16};

const PAGE: usize = 4096;
/// Most memory that a read takes: far beyond the caches, but for those of the largest servers, which hold as much.
const BUFFER_MAX: usize = 1 << 30;

/// Seconds of each of `repetitions` reads of `bytes`, after one that does not count. Takes memory of at most 1 GiB.
pub fn plain_read_seconds(
    isa: Isa,
    threads: usize,
    bytes: usize,
    repetitions: usize,
) -> Result<Vec<f64>, AllocError> {
    let turns = turns(bytes);
    let mut buffer = HugeBuffer::<u8>::zeroed(turns[0])?;
    // Pages never written would all be one page of zeros.
    buffer.fill(1);
    let measure = || {
        // On a thread of its own, since a pinned thread stays pinned.
        let mut pool = Pool::new(threads);
        pool.pin_caller();
        let mut read = || turns.iter().for_each(|turn| plain_read(isa, &mut pool, &buffer[..*turn]));
        read();
        let timed = |_| {
            let start = Instant::now();
            read();
            start.elapsed().as_secs_f64()
        };
        (0..repetitions).map(timed).collect::<Vec<f64>>()
    };
    let measured = std::thread::scope(|scope| scope.spawn(measure).join());
    Ok(measured.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
}

/// The reads that make up one of `bytes`, in whole pages, the longest first.
fn turns(bytes: usize) -> Vec<usize> {
    let bytes = bytes.max(1).next_multiple_of(PAGE);
    let rest = bytes % BUFFER_MAX;
    repeat_n(BUFFER_MAX, bytes / BUFFER_MAX).chain((rest > 0).then_some(rest)).collect()
}

/// Reads the whole pages of `bytes`, shared among the pool's threads.
pub fn plain_read(isa: Isa, pool: &mut Pool, bytes: &[u8]) {
    pool.run(&|team| {
        let share = team.share(bytes.len() / PAGE);
        black_box(isa.run(Read(&bytes[share.start * PAGE..share.end * PAGE])));
    });
}

struct Read<'a>(&'a [u8]);

impl Kernel for Read<'_> {
    type Output = i32;

    #[inline(always)]
    unsafe fn run<S: Simd16>(self) -> i32 {
        // SAFETY: chunks have 512 bytes, a prefetch may name any address; the instruction set is the caller's
        // promise.
        unsafe {
            let mut sums = [S::zero_i(); 8];
            for chunk in self.0.as_chunks::<512>().0 {
                for (i, sum) in sums.iter_mut().enumerate() {
                    S::prefetch(chunk.as_ptr().wrapping_add(PAGE + i * 64));
                    *sum = S::or_i(*sum, S::load_i(chunk.as_ptr().add(i * 64)));
                }
            }
            sums.into_iter().map(|sum| S::reduce_max_i(sum)).fold(0, i32::max)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_bytes_are_read_by_every_instruction_set() {
        for isa in Isa::supported() {
            for len in [PAGE, 3 * PAGE] {
                let mut bytes = vec![0; len];
                assert_eq!(isa.run(Read(&bytes)), 0);
                for place in [0, len / 2 + 3, len - 1] {
                    bytes[place] = 1;
                    assert!(isa.run(Read(&bytes)) > 0, "{isa}: byte {place} of {len}");
                    bytes[place] = 0;
                }
            }
        }
    }

    #[test]
    fn many_bytes_are_read_in_turns_of_bounded_memory() {
        const GIB: usize = 1 << 30;
        for (bytes, expected) in [
            (0, vec![PAGE]),
            (PAGE + 1, vec![2 * PAGE]),
            (GIB, vec![GIB]),
            (GIB + 1, vec![GIB, PAGE]),
            (4 * GIB + 3 * PAGE, vec![GIB, GIB, GIB, GIB, 3 * PAGE]),
        ] {
            assert_eq!(turns(bytes), expected, "{bytes}");
        }
    }

    #[test]
    fn times_of_the_counted_reads_come_back() {
        let seconds = plain_read_seconds(Isa::detect(), 2, 1 << 20, 3).unwrap();
        assert!(seconds.len() == 3 && seconds.iter().all(|seconds| *seconds > 0.0), "{seconds:?}");
    }
}
