#!/usr/bin/env bash
# systemd/tests/rootfs.sh SUITE: prints the folder of a fresh Debian root (bookworm, trixie, …) with
# systemd as its init, a broker, curl and nc; made once, then kept under target/nspawn. Root only.
set -euo pipefail
cd "$(dirname "$0")/../.."
suite=$1
# What the tests use inside. The package under test brings its own dependencies, from apt's cache.
packages=systemd-sysv,dbus,mosquitto,mosquitto-clients,curl,jq,procps,libsystemd0,strace,netcat-openbsd
root=$PWD/target/nspawn/$suite
want=$(printf '%s\n' "$packages" "$(sha256sum <"$0")" | sha256sum | cut -c1-16)

if [ "$(cat "$root.key" 2>/dev/null)" != "$want" ]; then
    # The mirror that the machine already uses.
    mirror=$(awk '/^URIs:/ { print $2; exit }' /etc/apt/sources.list.d/*.sources 2>/dev/null || true)
    [ -n "$mirror" ] || mirror=$(awk '$1 == "deb" { for (i = 2; i <= NF; i++) if ($i ~ /:\/\//) { print $i; exit } }' /etc/apt/sources.list)
    [ -n "$mirror" ] || { echo "rootfs.sh: no Debian mirror in /etc/apt" >&2; exit 1; }
    rm -rf "$root" "$root.key"
    mkdir -p "$(dirname "$root")"
    for pause in 5 20 0; do
        if mmdebstrap --quiet --variant=apt --include="$packages" \
            --dpkgopt='path-exclude=/usr/share/locale/*' \
            "$suite" "$root" \
            "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main" >&2; then
            break
        fi
        rm -rf "$root"
        [ "$pause" != 0 ] || { echo "rootfs.sh: $suite could not be made in three attempts" >&2; exit 1; }
        sleep "$pause"
    done
    echo "$want" >"$root.key"
fi
echo "$root"
