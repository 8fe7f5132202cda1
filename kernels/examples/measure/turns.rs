//! What examples that print rates measure with: the machine, memory to read, and times taken in turn.

use std::time::Instant;

use ostro_kernels::cpu::isa::Isa;
use ostro_kernels::cpu::memory::HugeBuffer;

/// The one that the first argument names, or the best there is.
pub(crate) fn isa() -> Isa {
    std::env::args()
        .nth(1)
        .map_or_else(Isa::detect, |name| Isa::from_name(&name).unwrap_or_else(|error| panic!("{error}")))
}

/// One, and as many as there are processors.
pub(crate) fn thread_counts() -> [usize; 2] {
    [1, std::thread::available_parallelism().map_or(1, usize::from)]
}

/// Memory of its own: pages never written would all be one page of zeros.
pub(crate) fn touched(bytes: usize) -> HugeBuffer<u8> {
    let mut buffer = HugeBuffer::zeroed(bytes).expect("memory");
    buffer.fill(1);
    buffer
}

/// Seconds that each job took, from the best to the worst. They take turns, so that all see the same machine.
pub(crate) fn in_turn<T, const N: usize>(
    times: usize,
    state: &mut T,
    mut jobs: [&mut dyn FnMut(&mut T); N],
) -> [Vec<f64>; N] {
    let mut seconds = [(); N].map(|()| Vec::new());
    for _ in 0..times {
        for (job, seconds) in jobs.iter_mut().zip(&mut seconds) {
            let start = Instant::now();
            job(state);
            seconds.push(start.elapsed().as_secs_f64());
        }
    }
    seconds.iter_mut().for_each(|seconds| seconds.sort_by(f64::total_cmp));
    seconds
}
