#!/usr/bin/env bash
# cross/vm/run.sh [PACKAGE.deb]: boots a 32-bit ARM machine (qemu-system, real kernel, systemd as
# process 1, no disk, no network) with weir installed, and runs tests.sh in it. Without a package:
# target/cross's binary, systemd/weir.service and configs/weir.toml, installed by hand.
set -euo pipefail
. "$(dirname "$0")/../common.sh"
package=${1:-}
"$root/cross/vm/rootfs.sh"
cross_env armv7-unknown-linux-gnueabihf
vm=$root/target/vm
scratch=$(mktemp -d "$vm/run.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
fs=$scratch/rootfs
mkdir "$fs"
tar -x -C "$fs" -f "$vm/rootfs.tar"

if [ -n "$package" ]; then
    # Its scripts are ARM programs: the kernel hands them to qemu-user (F: opened now, not in the root).
    binfmt=/proc/sys/fs/binfmt_misc
    if [ ! -e "$binfmt/qemu-arm" ]; then
        [ -e "$binfmt/register" ] || mount -t binfmt_misc binfmt_misc "$binfmt"
        cat /usr/lib/binfmt.d/qemu-arm.conf >"$binfmt/register"
    fi
    cp "$package" "$fs/weir.deb"
    chroot "$fs" dpkg -i /weir.deb
    rm "$fs/weir.deb"
else
    [ -x "$binary" ] || fail "$binary is not there: make cross TARGET=$target"
    install -D -m 755 "$binary" "$fs/usr/bin/weir"
    install -D -m 644 "$root/systemd/weir.service" "$fs/etc/systemd/system/weir.service"
    install -D -m 644 "$root/configs/weir.toml" "$fs/etc/weir/weir.toml"
    ln -sf ../weir.service "$fs/etc/systemd/system/multi-user.target.wants/weir.service"
fi

# The tests' own configuration, beside the one installed: no NTP in here, and readings of the past.
mkdir -p "$fs/etc/weir/conf.d"
cat >"$fs/etc/weir/conf.d/test.toml" <<'CONF'
[clock]
trust = "always"
[[profile]]
match = { device = "dev-*" }
lateness = "0s"
windows = [{ size = "5s" }]
CONF
# A refused system call is to kill and be logged, not to fail quietly; a hang to be found soon.
mkdir -p "$fs/etc/systemd/system/weir.service.d"
cat >"$fs/etc/systemd/system/weir.service.d/test.conf" <<'CONF'
[Service]
SystemCallErrorNumber=kill
WatchdogSec=15s
CONF
install -D -m 644 "$root/configs/mosquitto.conf" "$fs/etc/mosquitto/mosquitto.conf"
install -D -m 755 "$root/cross/vm/tests.sh" "$fs/usr/local/bin/vm-tests"
cat >"$fs/etc/systemd/system/vm-tests.service" <<'CONF'
[Unit]
After=multi-user.target
[Service]
ExecStart=/usr/local/bin/vm-tests
CONF
mkdir -p "$fs/etc/systemd/system/multi-user.target.wants"
ln -sf ../vm-tests.service "$fs/etc/systemd/system/multi-user.target.wants/vm-tests.service"
(cd "$fs" && find . -xdev \( -path ./var/cache/apt -o -path ./var/lib/apt/lists \) -prune -o -print0 |
    cpio -0 -o -H newc --quiet | pigz -1) >"$scratch/root.cpio.gz"
rm -rf "$fs"

log=$vm/console.log
timeout -k 10 "${VM_SECONDS:-600}" qemu-system-arm -M virt -cpu cortex-a15 -smp 2 -m 1024 -nographic -no-reboot -nic none \
    -kernel "$vm/vmlinuz" -initrd "$scratch/root.cpio.gz" \
    -append "console=ttyAMA0 audit=1 rdinit=/lib/systemd/systemd systemd.show_status=false quiet panic=-1" \
    </dev/null 2>&1 | sed -u 's/\r//' | tee "$log" | grep --line-buffered -a '^vm: ' || true
grep -aq '^vm: verdict: passed' "$log" || fail "the virtual machine's tests did not pass; its console: $log"
