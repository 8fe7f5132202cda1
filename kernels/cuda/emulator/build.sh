#!/bin/sh
# Builds the fake CUDA driver: build.sh OUT_DIR makes OUT_DIR/libcuda.so.1 and the link libcuda.so, the name that cudarc
# tries first. Compiles only what changed, so that tests can call it each time. With --test also OUT_DIR/self_test, and
# runs it. Needs only g++ (CXX overrides it, CXXFLAGS adds to it).
set -eu
folder=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1/objects"
out=$(cd "$1" && pwd)
exec 9>"$out/objects/lock"
flock 9 2>/dev/null || true # two builds at once would mix; where there is no flock, callers see to it
# No contraction of a * b + c: the same answers on every processor.
flags="-std=c++17 -O2 -fno-strict-aliasing -ffp-contract=off -fPIC -fvisibility=hidden -pthread -Wall -Wextra
  -Wno-unknown-pragmas -Wno-unused-variable -Wno-psabi -DOSTRO_EMULATED -I $folder -I $folder/.. ${CXXFLAGS:-}"

# is_newer OBJECT SOURCE...: whether the object exists and no source is newer.
is_newer() {
  object=$1
  shift
  [ -f "$object" ] && [ -z "$(find "$@" -newer "$object")" ]
}

objects=
jobs=
for name in kernels driver device memory copies streams null_stream modules fibre shared_memory tensor barriers boxes products tensor_maps checks; do
  object=$out/objects/$name.o
  objects="$objects $object"
  sources="$folder/$name.cpp $folder/build.sh $(echo "$folder"/*.h)"
  checks=
  if [ $name = kernels ]; then
    sources="$sources $(echo "$folder"/*.inc "$folder"/*.cu "$folder"/../*.cu*)"
    checks="-fsanitize=alignment,bounds,shift-exponent,signed-integer-overflow -fno-sanitize-recover=all" # see checks.cpp
  fi
  if ! is_newer "$object" $sources; then
    # To a new name first, and the time from before: what is edited meanwhile is compiled again.
    touch "$object.time"
    (${CXX:-g++} $flags $checks -c "$folder/$name.cpp" -o "$object.new" && touch -r "$object.time" "$object.new" &&
      mv "$object.new" "$object") &
    jobs="$jobs $!"
  fi
done
for job in $jobs; do wait "$job"; done
if ! is_newer "$out/libcuda.so.1" $objects; then
  ${CXX:-g++} -shared -pthread -Wl,-soname,libcuda.so.1 -Wl,-z,defs $objects -o "$out/libcuda.so.1.new"
  # Renamed, not written in place: a running test may have the old one mapped.
  mv "$out/libcuda.so.1.new" "$out/libcuda.so.1"
  ln -sf libcuda.so.1 "$out/libcuda.so"
fi
if [ "${2:-}" = --test ]; then
  sources="$folder/self_test.cpp $folder/self_test_driver.cpp $folder/self_test_hopper.cpp"
  if ! is_newer "$out/self_test" $sources "$folder/build.sh" "$folder"/*.h "$out/libcuda.so.1"; then
    touch "$out/self_test.time"
    ${CXX:-g++} $flags $sources -o "$out/self_test.new" "$out/libcuda.so.1" -Wl,-rpath,"$out"
    touch -r "$out/self_test.time" "$out/self_test.new"
    mv "$out/self_test.new" "$out/self_test"
  fi
  exec 9>&- # others may build while these run
  "$out/self_test"
  OSTRO_FAKE_CUDA_CC=90 "$out/self_test" hopper
fi
