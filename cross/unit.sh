#!/usr/bin/env bash
# cross/unit.sh TARGET…: the unit tests of `unit-tests`, compiled for TARGET, under qemu-user.
# FILTERS: others (words between spaces).
set -euo pipefail
. "$(dirname "$0")/common.sh"
[ $# -gt 0 ] || fail "which target? There are: $(recipes)"
"$root/cross/packages.sh" build run
prepare "$@"
filters=${FILTERS:-$(grep -v '^#' "$root/cross/unit-tests")}

# Skipped: qemu-user starts programs by fork in the place of vfork, so that one which is not there ends
# with 127 instead of an error of the caller; the test is about that error.
#
# Dependencies as in what ships, so that they are built already; weir itself less optimised, since with
# its tests it takes longer to build than what ships. That one is compared by the golden tests.
# shellcheck disable=SC2086
unit() {
    echo "== unit tests: $*"
    cargo test --quiet --release --locked --lib $features "$@" \
        --config 'profile.release.package.weir.opt-level=1' --config 'profile.release.package.weir.codegen-units=16' \
        -- $filters --skip clock::tests::a_program_that_is_missing
}
for_targets unit "$@"
