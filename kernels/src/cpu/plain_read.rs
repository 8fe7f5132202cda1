//! The floor of everything that streams weights: a plain read of as many bytes, on all threads, in huge pages.

use std::hint::black_box;
use std::time::Instant;

use super::isa::Isa;
use super::memory::{AllocError, HugeBuffer};
use super::pool::Pool;
use super::simd::{Kernel, Simd16};

const PAGE: usize = 4096;

/// Seconds of each of `repetitions` reads of `bytes`, after one that does not count.
pub fn plain_read_seconds(
    isa: Isa,
    threads: usize,
    bytes: usize,
    repetitions: usize,
) -> Result<Vec<f64>, AllocError> {
    let mut buffer = HugeBuffer::<u8>::zeroed(bytes.next_multiple_of(PAGE))?;
    // Pages never written would all be one page of zeros.
    buffer.fill(1);
    let measure = || {
        // On a thread of its own, since a pinned thread stays pinned.
        let mut pool = Pool::new(threads);
        pool.pin_caller();
        plain_read(isa, &mut pool, &buffer);
        let timed = |_| {
            let start = Instant::now();
            plain_read(isa, &mut pool, &buffer);
            start.elapsed().as_secs_f64()
        };
        (0..repetitions).map(timed).collect::<Vec<f64>>()
    };
    let measured = std::thread::scope(|scope| scope.spawn(measure).join());
    Ok(measured.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
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
    fn times_of_the_counted_reads_come_back() {
        let seconds = plain_read_seconds(Isa::detect(), 2, 1 << 20, 3).unwrap();
        assert!(seconds.len() == 3 && seconds.iter().all(|seconds| *seconds > 0.0), "{seconds:?}");
    }
}
