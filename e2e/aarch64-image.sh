#!/usr/bin/env bash
# The images for 64-bit Arm, and one answer of a real model by what the daemon's holds, under emulation. The first build
# takes ten minutes.
needs=(aarch64-linux-gnu-gcc:gcc-aarch64-linux-gnu qemu-aarch64:qemu-user)
# The C library for linking; it has no program to look for.
[ -e /usr/aarch64-linux-gnu/lib/crt1.o ] || needs+=(no-program:libc6-dev-arm64-cross)
. "$(dirname "$0")/setup.sh" "${needs[@]}"
rustup target add aarch64-unknown-linux-gnu
cargo build --release -p ostro-e2e
e2e="$CARGO_TARGET_DIR/release/ostro-e2e"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$e2e" image build --architecture arm64 --out "$folder/images.tar" --sbom "$folder"
model=$("$e2e" model fetch smollm2-135m-instruct | tail -1)/SmolLM2-135M-Instruct.Q4_1.gguf
# The first image of the archive is the daemon's; it has one layer.
python3 - "$folder" <<'EOF'
import json, sys, tarfile
folder = sys.argv[1]
archive = tarfile.open(f"{folder}/images.tar")
blob = lambda one: archive.extractfile("blobs/" + one["digest"].replace(":", "/"))
entry = json.load(archive.extractfile("index.json"))["manifests"][0]
assert entry["platform"]["architecture"] == "arm64", entry
tarfile.open(fileobj=blob(json.load(blob(entry))["layers"][0])).extractall(f"{folder}/root")
EOF
# With this seed other processors say the same.
qemu-aarch64 -L "$folder/root" "$folder/root/usr/local/bin/ostro" run -m "$model" --seed 2 --max-tokens 12 \
  -i "What is the capital of France?" | tee "$folder/answer"
grep -q Paris "$folder/answer"
