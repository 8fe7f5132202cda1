#!/usr/bin/env bash
# The kernels by AVX-512 and AMX on a processor that lacks them: tests on Linux in the emulator Bochs, in a minute and a
# half, and five minutes more at first. Words after the name go to `cargo test`: `./e2e/avx512.sh simd` runs only the
# comparison of AVX-512 with plain Rust. Without words, tests that meet instruction sets and take seconds; all take hours.
. "$(dirname "$0")/setup.sh" busybox:busybox-static patch:patch zstd:zstd
skip() {
  echo "skipped: AVX-512 and AMX under emulation, since $1" >&2
  exit
}
[ "$(uname -m)" = x86_64 ] || skip "the tests are not built for x86-64 here"
! grep -qw amx_int8 /proc/cpuinfo || skip "this processor has them and all other tests meet them"
parts=$PWD/e2e/avx512
machine=${XDG_CACHE_HOME:-$HOME/.cache}/ostro/avx512-$(cat "$parts"/{build.sh,bochs.patch,go.sum} | sha256sum | head -c 12)
if [ ! -d "$machine" ]; then
  command -v go >/dev/null || skip "Go would fetch the emulator"
  "$parts/build.sh" "$machine"
fi
[ $# -gt 0 ] || set -- -- cpu::{simd,activation,digits,embedding,exp,isa,norm,pack,plain_read,rotary}:: \
  cpu::ops::{linear,norm,rotary}:: cpu::attention::tests::{rows_,short_} \
  --skip large --skip long --skip extreme_quants --skip proven --skip more_columns
# Cargo splits the runner at blanks, which the names of folders may have: so its path begins here, where cargo runs.
export CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER=e2e/avx512/run.sh OSTRO_AVX512_MACHINE=$machine
# As test.sh builds, so that nothing is built twice; `run.sh` leaves the tests of other packages out.
exec cargo test --workspace --features ostro/cuda,ostro-engine/cuda,ostro-kernels/cuda --lib "$@"
