#!/usr/bin/env bash
# cross/test.sh TARGET [FILTER…]: the unit tests, compiled for TARGET and run under qemu-user; and the
# golden tests of `weir replay`, whose output is also compared with this machine's, byte by byte.
set -euo pipefail
. "$(dirname "$0")/common.sh"
[ $# -gt 0 ] || fail "which target? There are: $(recipes)"
"$root/cross/packages.sh" build run
prepare "$1"
cross_env "$1"
shift
# What takes minutes under emulation and tests nothing that differs between machines: long searches
# and simulations of years (they run natively in `make test`).
skip=()
while read -r name _; do
    case $name in '' | '#'*) ;; *) skip+=(--skip "$name") ;; esac
done <"$root/cross/skipped-tests"

echo "== $target: unit tests"
# The release profile: its dependencies are there already, and the tests are what ships.
# shellcheck disable=SC2086
(cd "$root" && cargo test --quiet --release --locked --lib $features --target "$target" -- --quiet "${skip[@]}" "$@")

echo "== $target: golden tests through the command, compared with x86-64"
[ -x "$binary" ] || fail "$binary is not there: make cross TARGET=$target"
WEIR_OTHER="$runner $binary"
cross_env x86_64-unknown-linux-gnu
[ -x "$binary" ] || fail "$binary is not there: make cross TARGET=$target"
export WEIR_OTHER WEIR_REFERENCE="$binary" WEIR_COMMAND="$root/cross/both.sh"
export WEIR_IDENTITY_LOG=$CARGO_TARGET_DIR/identity.log
: >"$WEIR_IDENTITY_LOG"
unset RUSTC
(cd "$root" && CARGO_TARGET_DIR=$root/target cargo test --quiet --locked --test replay -- --quiet)
echo "$(grep -c ^same "$WEIR_IDENTITY_LOG") runs wrote the same bytes as on x86-64, $(grep -c ^DIFFERS "$WEIR_IDENTITY_LOG" || true) others"
