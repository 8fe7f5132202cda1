#!/usr/bin/env bash
# The kernels on 64-bit Arm: lints of all, and tests under emulation (all in about five minutes). Words after the name go
# to `cargo test`: `./e2e/aarch64.sh simd` runs only the comparison of NEON with plain Rust.
needs=(aarch64-linux-gnu-gcc:gcc-aarch64-linux-gnu qemu-aarch64:qemu-user)
# The C library for linking; it has no program to look for.
[ -e /usr/aarch64-linux-gnu/lib/crt1.o ] || needs+=(no-program:libc6-dev-arm64-cross)
. "$(dirname "$0")/setup.sh" "${needs[@]}"
target=aarch64-unknown-linux-gnu
rustup target add "$target"
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64 -L /usr/aarch64-linux-gnu"
cargo clippy --target "$target" -p ostro-kernels --all-targets -- -D warnings
exec cargo test --target "$target" -p ostro-kernels --lib "$@"
