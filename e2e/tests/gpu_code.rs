//! The GPU code that is committed, which no build makes anew.

use ostro_e2e::gpu::{Unreachable, check_kernels};
use ostro_e2e::skipped;

#[test]
fn committed_kernels_are_those_of_the_sources() {
    match check_kernels() {
        Ok(()) => {}
        Err(error) if error.is::<Unreachable>() => skipped::tell(format_args!("{error:#}")),
        Err(error) => panic!("{error:#}"),
    }
}
