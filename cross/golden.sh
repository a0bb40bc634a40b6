#!/usr/bin/env bash
# cross/golden.sh TARGET…: the golden tests of `weir replay`, driving the binary for TARGET under
# qemu-user and comparing its output with this machine's, byte by byte (`both.sh`).
set -euo pipefail
. "$(dirname "$0")/common.sh"
[ $# -gt 0 ] || fail "which target? There are: $(recipes)"
"$root/cross/packages.sh" build run
cross_env x86_64-unknown-linux-gnu
[ -x "$binary" ] || fail "$binary is not there: make cross TARGET=$target"
export WEIR_REFERENCE=$binary WEIR_COMMAND=$root/cross/both.sh WEIR_IDENTITY_LOG WEIR_OTHER
for target in "$@"; do
    cross_env "$target"
    [ -x "$binary" ] || fail "$binary is not there: make cross TARGET=$target"
    WEIR_OTHER="$runner $binary"
    WEIR_IDENTITY_LOG=$root/target/cross/identity-$target.log
    : >"$WEIR_IDENTITY_LOG"
    echo "== $target: golden tests through the command, compared with x86-64"
    # Skipped: what happens when the reader goes away; both.sh stands between.
    # shellcheck disable=SC2086
    (host_builds && cd "$root" && cargo test --quiet --locked $features --test replay -- \
        --skip a_closed_standard_output)
    echo "$target: $(grep -c ^same "$WEIR_IDENTITY_LOG") runs wrote the same bytes as on x86-64, $(grep -c ^DIFFERS "$WEIR_IDENTITY_LOG" || true) others"
done
