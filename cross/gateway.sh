#!/usr/bin/env bash
# cross/gateway.sh (`make gateway`): from a checkout and Rust to packages for three machines, each
# tested as far as a machine without ARM hardware can: builds, runs under qemu-user, packages, a 32-bit
# ARM machine and systemd as process 1. Needs root, Debian 12 and a network.
#
# Each job starts when those that it names have passed, so that what waits (downloads, machines that
# boot, watchdogs) runs beside what computes. Their output comes in the order below, each job's in one
# piece with its times; a job that cannot run says so, and counts as not passed. One cargo folder takes
# one cargo at a time: a job that comes after another's lock names it too.
# Output of job NAME: target/cross/gateway/NAME.log.
#
# UNIT=1: the unit tests for ARM too (otherwise: make cross-test).
set -uo pipefail
. "$(dirname "$0")/common.sh"
cd "$root" || exit 1
work=$root/target/cross/gateway
rm -rf "$work" target/debian
mkdir -p "$work"
trap 'kill $(jobs -p) 2>/dev/null' EXIT
names=()

# job NAME 'NEEDS' COMMAND…: NEEDS are names; with ~ before it, the end of that one is enough.
job() {
    names+=("$1")
    (
        trap - EXIT
        name=$1 verdict=ok
        for need in $2; do
            until [ -e "$work/${need#\~}.verdict" ]; do sleep 0.2; done
            [ "$need" != "${need#\~}" ] || [ "$(cat "$work/$need.verdict")" = ok ] || {
                echo "not run, since '$need' has not passed" >>"$work/$name.log"
                verdict='not run'
            }
        done
        shift 2
        TIMEFORMAT='%0R %0U %0S'
        began=$SECONDS
        if [ "$verdict" = ok ]; then
            { time "$@" >"$work/$name.log" 2>&1 || verdict=FAILED; } 2>"$work/$name.time"
        fi
        echo "$began" >"$work/$name.began"
        echo "$verdict" >"$work/$name.part"
        mv "$work/$name.part" "$work/$name.verdict"
    ) &
}
slowly() { nice -n 5 "$@"; }
# What nothing on the longest way waits for: ARM builds, package, virtual machine.
idly() { nice -n 10 "$@"; }
host_packages() { cross/packages.sh run vm deb nspawn; }
build_packages() { .ci/packages && cross/packages.sh build; }
# shellcheck disable=SC2086
toolchain() { prepare $targets_arm; }
# shellcheck disable=SC2086
host_tests() {
    host_builds
    cargo test --quiet --locked $features --no-run --test crash --test daemon --test replay --example package_files
}
machine() { cross/vm/run.sh target/debian/weir_*_armhf.deb; }

job packages-build '' build_packages
job packages 'packages-build' host_packages
job toolchain '' toolchain
job crates '' cargo fetch --quiet --locked
job cargo-deb '' slowly cross/cargo-deb.sh
job host-tests 'packages-build crates' host_tests
job root-nspawn 'packages' systemd/tests/rootfs.sh bookworm
job root-vm 'packages toolchain' cross/vm/rootfs.sh
# shellcheck disable=SC2086
job build-arm 'packages-build crates toolchain' slowly cross/build.sh $targets_arm
job build-x86-64 'packages-build crates' idly cross/build.sh x86_64-unknown-linux-gnu
job deb-amd64 'packages build-x86-64 host-tests cargo-deb ~deb-arm64' cross/deb.sh x86_64-unknown-linux-gnu
job nspawn 'deb-amd64 root-nspawn' systemd/tests/run.sh bookworm
job deb-armhf 'packages build-arm host-tests cargo-deb' cross/deb.sh armv7-unknown-linux-gnueabihf
job deb-arm64 'packages build-arm host-tests cargo-deb ~deb-armhf' cross/deb.sh aarch64-unknown-linux-gnu
job vm 'deb-armhf root-vm' machine
job smoke-aarch64 'packages build-arm host-tests' slowly cross/smoke.sh aarch64-unknown-linux-gnu
job smoke-armv7 'packages build-arm host-tests ~smoke-aarch64' slowly cross/smoke.sh armv7-unknown-linux-gnueabihf
# shellcheck disable=SC2086
job identity 'packages build-arm build-x86-64' slowly cross/identity.sh $targets_arm
job golden-aarch64 'build-arm build-x86-64 host-tests ~identity' slowly cross/golden.sh aarch64-unknown-linux-gnu
job golden-armv7 'build-arm build-x86-64 host-tests ~identity' slowly cross/golden.sh armv7-unknown-linux-gnueabihf
# Last, since building them takes a third as long as all that ships.
# shellcheck disable=SC2086
[ -z "${UNIT:-}" ] || job unit 'build-arm ~build-x86-64' slowly cross/unit.sh $targets_arm

table=()
bad=0 cpu=0
for name in "${names[@]}"; do
    until [ -e "$work/$name.verdict" ]; do sleep 0.2; done
    verdict=$(cat "$work/$name.verdict")
    [ "$verdict" = ok ] || bad=$((bad + 1))
    read -r wall user system < <(tail -n 1 "$work/$name.time" 2>/dev/null || echo 0 0 0)
    cpu=$((cpu + user + system))
    table+=("$(printf '%-15s %-8s from second %4d: %4d s, %4d s CPU' "$name" "$verdict" "$(cat "$work/$name.began")" "$wall" $((user + system)))")
    echo "=== $name"
    cat "$work/$name.log"
    echo "=== ${table[-1]}"
done

echo
printf '%s\n' "${table[@]}" | tee "$work/table"
echo "total: $((SECONDS / 60)) min $((SECONDS % 60)) s, $cpu s CPU on $(nproc) cores; $bad of ${#table[@]} jobs not passed" |
    tee -a "$work/table"
[ $bad = 0 ]
