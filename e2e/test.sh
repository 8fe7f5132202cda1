#!/usr/bin/env bash
# Everything that must pass before a change lands. Words after the name go to `cargo test`.
. "$(dirname "$0")/setup.sh" npm:npm runc:runc ip:iproute2 nft:nftables conntrack:conntrack iptables:iptables \
  ipset:ipset busybox:busybox-static patch:patch zstd:zstd g++:g++ /usr/lib/cni/ptp:containernetworking-plugins
command -v cargo-deny >/dev/null || cargo install cargo-deny --version 0.20.2 --locked --debug # optimised, it takes minutes more
cargo fmt --all --check
cargo clippy --workspace --all-targets -- -D warnings
# GPU code needs no toolkit; its tests run on an emulated driver where there is no GPU.
cuda=(--features ostro/cuda,ostro-engine/cuda,ostro-kernels/cuda)
cargo clippy --workspace --all-targets "${cuda[@]}" -- -D warnings
cargo deny --log-level error check bans licenses sources
if cargo deny fetch db 2>/dev/null; then
  cargo deny --log-level error check advisories
else
  echo "skipped: known advisories, since their database cannot be reached" >&2
fi
if rustup target add aarch64-unknown-linux-gnu 2>/dev/null; then
  # The rest under emulation takes minutes, and so does optimising for one test.
  ./e2e/aarch64.sh --config 'profile.dev.package.ostro-kernels.opt-level=0' simd
else
  echo "skipped: NEON, whose standard library rustup cannot fetch" >&2
fi
cargo test --workspace "${cuda[@]}" --no-run # also builds the programs
"$CARGO_TARGET_DIR/debug/ostro-e2e" model fetch all
if has_go; then
  "$CARGO_TARGET_DIR/debug/ostro-e2e" cluster build >/dev/null # once, in about 20 minutes
else
  echo "skipped: tests on a Kubernetes, whose programs Go 1.21 or newer would build" >&2
fi

said=$(mktemp -d)
declare -A beside
trap 'for group in $(jobs -pr); do kill -- "-$group" 2>/dev/null || true; done; rm -rf "$said"' EXIT
# NAME COMMAND...: runs it at the lowest priority beside the tests below, which leave half of two processors idle. Linux may
# share them among sessions first, as each program of a cluster is one: so this is one too, of as little weight. Whoever is
# not root may set that of one session in 100 ms.
beside() {
  setsid sh -c 'for _ in 1 2 3 4 5; do { echo 19 >/proc/self/autogroup; } 2>/dev/null && break; sleep 0.2; done
    exec nice -n 19 "$@"' sh "${@:2}" >"$said/$1" 2>&1 </dev/null & # a group too, which ends with this script
  beside[$1]=$!
}
beside emulator ./e2e/avx512.sh
if [ $# -eq 0 ]; then
  # Whole models take ten minutes of one processor. All calls select the workspace: cargo would build another choice anew.
  models=(golden exactness perplexity)
  beside models cargo test --workspace "${cuda[@]}" "${models[@]/#/--test=}"
  others=$(cargo metadata --no-deps --format-version 1 | python3 -c 'import json, sys
for package in json.load(sys.stdin)["packages"]:
  for target in package["targets"]:
    if target["kind"] == ["test"] and target["name"] not in sys.argv:
      print("--test=" + target["name"])' "${models[@]}")
  set -- --lib --bins $others
fi
cargo test --workspace "${cuda[@]}" "$@"
failed=0
for name in "${!beside[@]}"; do
  wait "${beside[$name]}" || failed=$?
  cat "$said/$name"
done
exit "$failed"
