#!/usr/bin/env bash
# PROGRAM WORD...: runs the tests of the kernels on the machine of OSTRO_AVX512_MACHINE, one after the other, and exits as
# they do.
set -euo pipefail
machine=$OSTRO_AVX512_MACHINE program=$1
shift
[ -x "$machine/bochs" ] || { echo "there is no emulated machine in $machine" >&2; exit 1; }
# Cargo runs those of all packages.
[[ $program == */ostro_kernels-* ]] || exit 0
parts=$(dirname "$0")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

mkdir "$folder/root"
cp "$(command -v busybox)" "$folder/root/busybox"
strip -o "$folder/root/program" "$program"
ldd "$program" | grep -o '/[^ ]*' | xargs cp -L --parents -t "$folder/root"
cat >"$folder/root/init" <<EOF
#!/busybox sh
alias @=/busybox
@ mkdir /proc /tmp
@ mount -t proc proc /proc
@ stty -onlcr
for flag in avx512f avx512bw avx512dq avx512vl avx512_vnni amx_tile amx_int8 amx_bf16; do
  @ grep -qw "\$flag" /proc/cpuinfo || echo "this processor lacks \$flag"
done
RUST_TEST_THREADS=1 RUST_TEST_NOCAPTURE=1 /program$(printf ' %q' "$@")
echo "exit status \$?"
# Bochs ends by the word at port 0x8900.
@ mknod /port c 1 4
for letter in S h u t d o w n; do echo -n \$letter | @ dd of=/port bs=1 seek=35072 2>/dev/null; done
EOF
chmod +x "$folder/root/init"
(cd "$folder/root" && find . | busybox cpio -o -H newc 2>/dev/null) >"$folder/ramdisk"
as --defsym memory=0x20000000 --defsym kernel="$(cat "$machine/entry")" --defsym ramdisk=0x10000000 \
  --defsym ramdisk_size="$(stat -c %s "$folder/ramdisk")" "$parts/boot.s" -o "$folder/boot.o"
ld -e start -Ttext=0xf0000 --oformat binary "$folder/boot.o" -o "$folder/boot"

# Time in the machine goes by instructions, 100 to a microsecond, and stands for nobody outside.
cat >"$folder/bochsrc" <<EOF
config_interface: textconfig
display_library: nogui
cpu: model=sapphire_rapids, ips=100000000, cpuid_freq=ips, reset_on_triple_fault=0, ignore_bad_msrs=1
clock: sync=none, time0=0
memory: guest=512, host=512
romimage: file="$folder/boot"
vgaromimage: file=/dev/null
optramimage1: file="$machine/linux", address=0x1000000
optramimage2: file="$folder/ramdisk", address=0x10000000
com1: enabled=1, mode=file, dev=/dev/fd/3
log: "$folder/log"
panic: action=fatal
EOF
# By its own time: it may run beside other tests, at the lowest priority.
(ulimit -t 1800 && exec "$machine/bochs" -q -f "$folder/bochsrc") 3>&1 >"$folder/out" 2>&1 |
  LC_ALL=C sed -u 's/^\xff//' | tee "$folder/said" || true
status=$(sed -n 's/^exit status \([0-9]*\)$/\1/p' "$folder/said")
if [ -z "$status" ]; then
  tail -n 20 "$folder/out" "$folder/log" >&2
  exit 1
fi
if grep -q "^this processor lacks\|skipped: AMX" "$folder/said"; then
  echo "the emulated machine has no AVX-512 or AMX" >&2
  exit 1
fi
if grep -q "^running 0 tests" "$folder/said"; then
  echo "no test has such a name" >&2
  exit 1
fi
exit "$status"
