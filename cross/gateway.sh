#!/usr/bin/env bash
# cross/gateway.sh (`make gateway`): from a checkout and Rust to packages for three machines, each
# tested as far as a machine without ARM hardware can: builds, runs under qemu-user, packages, a 32-bit
# ARM machine and systemd as process 1. Needs root, Debian 12 and a network; every step is timed, none
# is left out in silence.
set -uo pipefail
. "$(dirname "$0")/common.sh"
cd "$root" || exit 1
all="x86_64-unknown-linux-gnu $targets_arm"
table=()
bad=0
cpu() { awk '{ print int(($14 + $15 + $16 + $17) / 100) }' /proc/$$/stat; }

step() { # step NAME COMMAND…
    local name=$1 start=$SECONDS cpu_start verdict=ok
    cpu_start=$(cpu)
    shift
    echo "=== $name"
    if [ -e "$1" ] || [ "$(type -t "$1")" = function ]; then
        "$@" || verdict=FAILED
    else
        echo "$1 is not in this checkout"
        verdict='NOT THERE'
    fi
    [ "$verdict" = ok ] || bad=$((bad + 1))
    table+=("$(printf '%-44s %-9s %4d s, %4d s CPU' "$name" "$verdict" $((SECONDS - start)) $(($(cpu) - cpu_start)))")
    echo "=== ${table[-1]}"
}
host_packages() { .ci/packages && cross/packages.sh build run vm; }
# shellcheck disable=SC2086
toolchain() { prepare $targets_arm; }
packages() {
    local target
    for target in $all; do cross/deb.sh "$target" || return 1; done
}
deb_of() { find target/debian -name "weir_*_$1.deb" -newer target/cross/gateway-began 2>/dev/null | head -n 1; }
machine() { cross/vm/run.sh "$(deb_of armhf)"; }
mkdir -p target/cross
touch target/cross/gateway-began

step 'host packages' host_packages
step 'toolchain' toolchain
# shellcheck disable=SC2086
step 'release builds: x86-64, aarch64, armv7' cross/build.sh $all
for target in $targets_arm; do step "smoke: $target" cross/smoke.sh "$target"; done
# shellcheck disable=SC2086
step 'same bytes as on x86-64' cross/identity.sh $targets_arm
for target in $targets_arm; do step "unit and golden tests: $target" cross/test.sh "$target"; done
if [ -e cross/deb.sh ]; then step 'packages' packages; else step 'packages' cross/deb.sh; fi
step '32-bit ARM machine with systemd' machine
step 'packages and systemd on this machine' systemd/tests/run.sh

echo
printf '%s\n' "${table[@]}"
echo "total: $((SECONDS / 60)) min $((SECONDS % 60)) s, $(cpu) s CPU; $bad of ${#table[@]} steps not passed"
[ $bad = 0 ]
