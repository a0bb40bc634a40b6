#!/usr/bin/env bash
# systemd/tests/run.sh [SUITE]…: the package under a real systemd. For each suite (default: bookworm)
# a fresh Debian root boots with systemd as PID 1 in a container with a network of its own (loopback
# alone), and inside.sh installs, uses, upgrades and purges the package there. Prints a table of
# checks; fails if one fails. Needs root.
#
# WEIR_DEB: the package to test; default: target/debian/…_amd64.deb, made if it is not there.
set -euo pipefail
cd "$(dirname "$0")/../.."
[ "$(id -u)" = 0 ] || { echo "systemd/tests/run.sh: needs root (systemd-nspawn)" >&2; exit 1; }
target=x86_64-unknown-linux-gnu
version=$(sed -n '1s/^weir (\(.*\)) .*/\1/p' packaging/changelog)
new=${WEIR_DEB:-target/debian/weir_${version}_amd64.deb}
old=target/debian/weir_0.0.9-1_amd64.deb

cross/packages.sh nspawn
if [ ! -e "$new" ]; then
    cross/build.sh $target
    cross/deb.sh $target
fi
# An older package of the same program: what is tested is the upgrade itself.
rm -rf target/nspawn/old
mkdir -p target/nspawn target/debian
dpkg-deb --raw-extract "$new" target/nspawn/old
sed -i 's/^Version: .*/Version: 0.0.9-1/' target/nspawn/old/DEBIAN/control
dpkg-deb --root-owner-group -Zgzip -z1 --build target/nspawn/old "$old" >/dev/null

failed=0
for suite in "${@:-bookworm}"; do
    base=$(systemd/tests/rootfs.sh "$suite")
    root=target/nspawn/run-$suite
    results=$PWD/target/nspawn/results-$suite
    rm -rf "$root" "$results"
    mkdir -p "$results"
    cp -a --reflink=auto "$base" "$root"
    cp "$old" "$root/root/old.deb"
    cp "$new" "$root/root/new.deb"
    cp systemd/tests/inside.sh "$root/root/inside.sh"
    cat >"$root/etc/systemd/system/weir-tests.service" <<'UNIT'
[Unit]
After=mosquitto.service
[Service]
Type=oneshot
ExecStart=/bin/bash /root/inside.sh
ExecStopPost=/bin/systemctl poweroff --force --force
TimeoutStartSec=infinity
UNIT
    mkdir -p "$root/etc/systemd/system/multi-user.target.wants"
    ln -s ../weir-tests.service "$root/etc/systemd/system/multi-user.target.wants/"
    echo "weir-tests" >"$root/etc/hostname"
    start=$SECONDS
    # Newer systemd wants the unified hierarchy, which nspawn gives on request.
    SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=$([ "$suite" = bookworm ] && echo 0 || echo 1) \
        timeout -k 5 900 systemd-nspawn -q -D "$root" --register=no --keep-unit --boot --console=pipe \
        --private-network --bind="$results:/results" </dev/null >"$results/console" 2>&1 || true
    echo "== $suite: $(cat "$results/system" 2>/dev/null || echo 'did not boot'), $(basename "$new"), $((SECONDS - start)) s"
    cat "$results/table" 2>/dev/null || true
    if [ -e "$results/left" ]; then
        echo "left after purge: $(tr '\n' ' ' <"$results/left")"
    fi
    bad=$(grep -c ^FAILED "$results/table" 2>/dev/null || true)
    good=$(grep -c ^ok "$results/table" 2>/dev/null || true)
    if [ ! -e "$results/end" ]; then
        echo "$suite: the tests did not reach their end; see $results" && failed=1
    elif [ "$bad" != 0 ]; then
        echo "$suite: $bad of $((good + bad)) checks FAILED; see $results/log" && failed=1
    else
        echo "$suite: all $good checks passed"
    fi
    rm -rf "$root"
done
exit $failed
