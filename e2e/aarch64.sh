#!/usr/bin/env bash
# The kernels on 64-bit Arm: lints, and tests under emulation (all in about five minutes). Words after the name go to
# `cargo test`: `./e2e/aarch64.sh simd` compares NEON with plain Rust only.
. "$(dirname "$0")/setup.sh" aarch64-linux-gnu-gcc:gcc-aarch64-linux-gnu aarch64-linux-gnu-gcc:libc6-dev-arm64-cross \
  qemu-aarch64:qemu-user
target=aarch64-unknown-linux-gnu
rustup target add "$target"
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64 -L /usr/aarch64-linux-gnu"
cargo clippy --target "$target" -p ostro-kernels --all-targets -- -D warnings
exec cargo test --target "$target" -p ostro-kernels --lib "$@"
