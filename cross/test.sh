#!/usr/bin/env bash
# cross/test.sh TARGET [FILTER…]: the golden tests of `weir replay`, driving the binary for TARGET under
# qemu-user and comparing its output with this machine's, byte by byte; then the unit tests of
# `unit-tests` (or those that the filters choose), compiled for TARGET.
set -euo pipefail
. "$(dirname "$0")/common.sh"
[ $# -gt 0 ] || fail "which target? There are: $(recipes)"
"$root/cross/packages.sh" build run
target_arm=$1
cross_env "$1"
shift

echo "== $target: golden tests through the command, compared with x86-64"
[ -x "$binary" ] || fail "$binary is not there: make cross TARGET=$target"
WEIR_OTHER="$runner $binary"
cross_env x86_64-unknown-linux-gnu
[ -x "$binary" ] || fail "$binary is not there: make cross TARGET=$target"
export WEIR_OTHER WEIR_REFERENCE="$binary" WEIR_COMMAND="$root/cross/both.sh"
export WEIR_IDENTITY_LOG=$CARGO_TARGET_DIR/identity.log
: >"$WEIR_IDENTITY_LOG"
unset RUSTC
# Skipped: what happens when the reader goes away; both.sh stands between.
# shellcheck disable=SC2086
(cd "$root" && CARGO_TARGET_DIR=$root/target cargo test --quiet --locked $features --test replay -- --quiet \
    --skip a_closed_standard_output)
echo "$(grep -c ^same "$WEIR_IDENTITY_LOG") runs wrote the same bytes as on x86-64, $(grep -c ^DIFFERS "$WEIR_IDENTITY_LOG" || true) others"

unset WEIR_COMMAND
prepare "$target_arm"
cross_env "$target_arm"
echo "== $target: unit tests"
# Those of unit-tests, unless others are asked for. Less optimised than what ships, which the golden
# tests run: otherwise building them takes as long as weir itself.
filters=("$@")
[ ${#filters[@]} -gt 0 ] || mapfile -t filters < <(grep -v '^#' "$root/cross/unit-tests")
# shellcheck disable=SC2086
(cd "$root" && cargo test --quiet --release --locked --lib $features --target "$target" \
    --config 'profile.release.package.weir.opt-level=1' --config 'profile.release.package.weir.codegen-units=16' \
    -- --quiet "${filters[@]}")
