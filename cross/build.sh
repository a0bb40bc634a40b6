#!/usr/bin/env bash
# cross/build.sh TARGET…: builds weir as packages ship it, into target/cross/TARGET/release/weir.
set -euo pipefail
. "$(dirname "$0")/common.sh"
[ $# -gt 0 ] || fail "which target? There are: $(recipes)"
"$root/cross/packages.sh" build
prepare "$@"

# shellcheck disable=SC2086
build() { cargo build --release --locked --bin weir $features "$@"; }
for_targets build "$@"
for target in "$@"; do
    cross_env "$target"
    echo "$binary: $(stat -c %s "$binary") bytes"
done
