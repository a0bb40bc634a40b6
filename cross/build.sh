#!/usr/bin/env bash
# cross/build.sh TARGET…: builds weir as packages ship it, into target/cross/TARGET/release/weir.
# Targets of one compiler are built together, which shares build scripts and keeps all cores busy.
set -euo pipefail
. "$(dirname "$0")/common.sh"
[ $# -gt 0 ] || fail "which target? There are: $(recipes)"
"$root/cross/packages.sh" build
prepare "$@"

for which in debian rustup; do
    args=()
    for target in "$@"; do
        cross_env "$target"
        if [ "$(compiler "$target")" = $which ]; then args+=(--target "$target"); fi
    done
    [ ${#args[@]} -gt 0 ] || continue
    unset RUSTC
    if [ $which = debian ]; then export RUSTC=$toolchain/bin/rustc; fi
    # shellcheck disable=SC2086
    (cd "$root" && cargo build --release --locked --bin weir $features "${args[@]}")
done
for target in "$@"; do
    cross_env "$target"
    echo "$binary: $(stat -c %s "$binary") bytes"
done
