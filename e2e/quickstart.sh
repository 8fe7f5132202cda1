#!/usr/bin/env bash
# The main job on a fresh machine: build, fetch a model, serve it, stream one answer, print the URL.
. "$(dirname "$0")/setup.sh" curl:curl # sourced without words of its own, it would have this script's
e2e="$CARGO_TARGET_DIR/release/ostro-e2e"
# An older build can stop a daemon too.
[ "$*" = --stop ] && [ -x "$e2e" ] || cargo build --release -p ostro -p ostro-e2e
exec "$e2e" quickstart "$@"
