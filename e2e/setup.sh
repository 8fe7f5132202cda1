# Sourced by the other scripts here: what a fresh Debian machine lacks. Does nothing where all is there.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/ostro/target}"
[ -f "$HOME/.cargo/env" ] && . "$HOME/.cargo/env"

# NAME:PACKAGE pairs; a package is installed when its command (or header) is missing. A user's PATH often lacks the folders
# of root's programs.
missing=()
for pair in cc:build-essential c++:build-essential cmake:cmake curl:curl git:git pip3:python3-pip "$@"; do
  PATH="$PATH:/usr/sbin:/sbin" command -v "${pair%%:*}" >/dev/null || missing+=("${pair#*:}")
done
python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
if [ ${#missing[@]} -gt 0 ]; then
  echo "installing ${missing[*]}" >&2
  sudo=$([ "$(id -u)" = 0 ] || echo sudo)
  $sudo apt-get update -q >&2 && $sudo apt-get install -yq --no-install-recommends "${missing[@]}" >&2
fi
if ! command -v cargo >/dev/null; then
  echo "installing Rust with rustup" >&2
  curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y --profile minimal --default-toolchain none >&2
  . "$HOME/.cargo/env"
fi

# From 1.21 on, Go fetches the version that a module asks for by itself.
has_go() { [[ $(go version 2>/dev/null) =~ go1\.([0-9]+) && ${BASH_REMATCH[1]} -ge 21 ]]; }
