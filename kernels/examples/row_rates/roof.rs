//! A plain copy of as many bytes as a kernel must read and write, in the same cache. (`plain_read` is for memory beyond the
//! caches: it takes whole pages, and fetches ahead.)

use std::hint::black_box;
use std::sync::atomic::{AtomicPtr, Ordering};

use ostro_kernels::cpu::memory::HugeBuffer;
use ostro_kernels::cpu::ops::Cpu;
use ostro_kernels::cpu::pool::{Pool, Team};
use ostro_kernels::cpu::simd::{Kernel, Simd16};

use crate::turns::touched;

/// Bytes of a vector.
const LINE: usize = 64;

/// Reads and writes whole lines.
pub(crate) struct Roof {
    source: HugeBuffer<u8>,
    target: HugeBuffer<u8>,
    read: usize,
    /// Where in the source the next copy reads.
    at: usize,
}

impl Roof {
    /// The same bytes with each copy.
    pub(crate) fn cached(read: usize, written: usize) -> Self {
        Self::spread(read, written, read)
    }

    /// Other bytes with each copy, of so many.
    pub(crate) fn spread(read: usize, written: usize, source: usize) -> Self {
        Self { source: touched(source.max(LINE)), target: touched(written.max(LINE)), read, at: 0 }
    }

    /// By all threads.
    pub(crate) fn copy_shared(&mut self, cpu: &mut Cpu) {
        let isa = cpu.isa();
        let (source, target) = self.next();
        on_shares(cpu.pool_mut(), target, LINE, |team, target| {
            let share = team.share(source.len() / LINE);
            let source = &source[share.start * LINE..share.end * LINE];
            black_box(isa.run(Copy { source, target }));
        });
    }

    pub(crate) fn copy_alone(&mut self, cpu: &mut Cpu) {
        let (source, target) = self.next();
        black_box(cpu.isa().run(Copy { source, target }));
    }

    fn next(&mut self) -> (&[u8], &mut [u8]) {
        let start = if self.at + self.read <= self.source.len() { self.at } else { 0 };
        // A step that shares no factor with the buffer's size: what is read next was not fetched by habit.
        self.at = (start + self.read.next_multiple_of(LINE) + 7919 * LINE) % self.source.len();
        (&self.source[start..start + self.read], &mut self.target)
    }
}

/// Each thread with its own part of `whole`, in whole units.
pub(crate) fn on_shares<T: Send>(
    pool: &mut Pool,
    whole: &mut [T],
    unit: usize,
    f: impl Fn(Team<'_>, &mut [T]) + Sync,
) {
    let units = whole.len() / unit;
    let start = AtomicPtr::new(whole.as_mut_ptr());
    pool.run(&|team| {
        let share = team.share(units);
        // SAFETY: shares of threads are disjoint parts of `whole`, which is borrowed until all threads are done.
        let part = unsafe {
            let start = start.load(Ordering::Relaxed).add(share.start * unit);
            std::slice::from_raw_parts_mut(start, share.len() * unit)
        };
        f(team, part);
    });
}

struct Copy<'a> {
    source: &'a [u8],
    target: &'a mut [u8],
}

impl Kernel for Copy<'_> {
    type Output = i32;

    #[inline(always)]
    unsafe fn run<S: Simd16>(self) -> i32 {
        let sources = self.source.as_chunks::<LINE>().0;
        let targets = self.target.as_chunks_mut::<LINE>().0;
        let both = sources.len().min(targets.len());
        // SAFETY: lines have 64 bytes; the instruction set is the caller's promise.
        unsafe {
            for (source, target) in sources.iter().zip(&mut *targets) {
                S::store_i(target.as_mut_ptr(), S::load_i(source.as_ptr()));
            }
            let mut sums = [S::zero_i(); 4];
            for lines in sources[both..].as_chunks::<4>().0 {
                for (sum, line) in sums.iter_mut().zip(lines) {
                    *sum = S::or_i(*sum, S::load_i(line.as_ptr()));
                }
            }
            for target in &mut targets[both..] {
                S::store_i(target.as_mut_ptr(), sums[0]);
            }
            sums.into_iter().map(|sum| S::reduce_max_i(sum)).fold(0, i32::max)
        }
    }
}
