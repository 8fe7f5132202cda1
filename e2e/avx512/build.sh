#!/usr/bin/env bash
# FOLDER: makes the emulated machine, which is Bochs, and Linux as it lies in memory.
set -euo pipefail
cd "$(dirname "$0")"
parts=$PWD
mkdir -p "$(dirname "$1")"
new=$(mktemp -d "$1.XXXXXX")
trap '[ ! -e "$new/log" ] || tail -n 20 "$new/log" >&2; rm -rf "$new"' EXIT

fetch() { go mod download "$1" >&2 && go list -m -f '{{.Dir}}' "$1"; }
linux=$(fetch github.com/gokrazy/kernel.amd64)
bochs=$(fetch github.com/bochs-emu/Bochs)

# Unpacked, since that would take the emulated machine a minute. Where the packed one lies is told by the image's header:
# setup_sects, payload_offset and payload_length; it ends in its size.
image=$linux/vmlinuz
number() { od -An -t "u$2" -j "$1" -N "$2" "$image"; }
start=$((($(number 0x1f1 1) + 1) * 512 + $(number 0x248 4)))
dd if="$image" iflag=skip_bytes,count_bytes skip=$start count=$(($(number 0x24c 4) - 4)) bs=1M status=none |
  zstd -dqc >"$new/vmlinux"
objcopy -O binary "$new/vmlinux" "$new/linux"
readelf -h "$new/vmlinux" | sed -n 's/.*Entry point address: *//p' >"$new/entry"
rm "$new/vmlinux"

build() {
  set -e
  cp -r "$bochs/bochs" "$new/source"
  chmod -R u+w "$new/source"
  cd "$new/source"
  patch -sp1 <"$parts/bochs.patch"
  CFLAGS="-O2 -pipe" CXXFLAGS="-O2 -pipe" sh ./configure --with-nogui --enable-x86-64 --enable-avx --enable-evex \
    --enable-amx --enable-all-optimizations --disable-a20-pin --disable-x86-debugger --disable-perfmon \
    --disable-3dnow --disable-pci --disable-vmx --disable-svm --disable-docbook
  make -j"$(nproc)" bochs
  strip -o "$new/bochs" bochs
}
build 2>&1 | tee "$new/log" | awk 'NR % 150 == 0 { print "building Bochs: line " NR " of 1350" }' >&2
rm -r "$new/source"
mv -T "$new" "$1"
