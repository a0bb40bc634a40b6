#!/usr/bin/env bash
# cross/packages.sh build|run|vm|deb|nspawn…: installs the Debian packages that building for ARM, running
# ARM binaries, the ARM virtual machine, making packages and testing them under systemd need. Says
# nothing when all is there; without root it says what is missing.
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin

has() { command -v "$1" >/dev/null; }
missing() {
    for use in "$@"; do
        case $use in
        build)
            has cc || echo gcc libc6-dev
            has pkg-config || echo pkg-config
            pkg-config --exists libsystemd 2>/dev/null || echo libsystemd-dev
            has aarch64-linux-gnu-gcc || echo gcc-aarch64-linux-gnu
            [ -e /usr/aarch64-linux-gnu/lib/libc.so ] || echo libc6-dev-arm64-cross
            has arm-linux-gnueabihf-gcc || echo gcc-arm-linux-gnueabihf
            [ -e /usr/arm-linux-gnueabihf/lib/libc.so ] || echo libc6-dev-armhf-cross
            ;;
        run) has qemu-arm-static && has qemu-aarch64-static || echo qemu-user-static ;;
        vm)
            has qemu-system-arm || echo qemu-system-arm
            has mmdebstrap || echo mmdebstrap
            has arch-test || echo arch-test
            has cpio || echo cpio
            has pigz || echo pigz
            ;;
        deb)
            has lintian || echo lintian
            has jq || echo jq
            has readelf || echo binutils
            has xz || echo xz-utils
            ;;
        nspawn)
            has mmdebstrap || echo mmdebstrap
            has systemd-nspawn || echo systemd-container
            ;;
        *) echo "cross/packages.sh: '$use' is none of build, run, vm, deb, nspawn" >&2 && exit 2 ;;
        esac
    done
}

wanted=$(missing "$@" | sort -u)
[ -n "$wanted" ] || exit 0
# Without quotes: a list of names.
# shellcheck disable=SC2086
"$(dirname "$0")/../.ci/install" "ARM and packages" $wanted
still=$(missing "$@")
[ -z "$still" ] || { echo "installed, yet still missing: $still" >&2 && exit 1; }
