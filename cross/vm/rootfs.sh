#!/usr/bin/env bash
# cross/vm/rootfs.sh: makes what the virtual machine starts from, in target/vm (cached): a Debian 12
# root for armhf with systemd and mosquitto, as a tar file, and its kernel.
#
# Packages are unpacked, their install scripts do not run: under emulation those take minutes. What
# they would have done for this machine is done by hand below: users, and the services that start.
set -euo pipefail
. "$(dirname "$0")/../common.sh"
"$root/cross/packages.sh" run vm
"$root/cross/toolchain.sh" sysroots
vm=$root/target/vm
packages="systemd-sysv dbus udev procps mosquitto mosquitto-clients base-files base-passwd libc-bin
    bash dash coreutils sed grep mawk findutils diffutils util-linux mount hostname tar dpkg perl-base
    init-system-helpers libgcc-s1 libsystemd0"
key="4 $packages"
if [ "$(cat "$vm/key" 2>/dev/null)" = "$key" ]; then exit 0; fi

rm -rf "$vm"
mkdir -p "$vm"/{archives/partial,boot,fs}
cd "$vm"
export APT_CONFIG=$toolchain/apt/bookworm/conf
apt() { apt-get -qq -o APT::Architecture=armhf -o APT::Architectures=armhf -o Dir::Cache::archives="$vm/archives" "$@"; }
kernel=$(apt-cache depends linux-image-armmp-lpae:armhf | awk '$1 == "Depends:" { print $2; exit }')
kernel=${kernel%:armhf}
for pause in 5 20 0; do
    # Without quotes: a list of names.
    # shellcheck disable=SC2086
    if apt -y --no-install-recommends --download-only install $packages >log 2>&1 &&
        (cd boot && apt download "$kernel") >>log 2>&1; then break; fi
    [ "$pause" != 0 ] || { cat log >&2 && fail 'cannot download the packages of the virtual machine'; }
    sleep "$pause"
done

dpkg --fsys-tarfile boot/*.deb | tar -x -C boot --wildcards --strip-components=2 './boot/vmlinuz-*'
mv boot/vmlinuz-* vmlinuz
# As Debian has it: /bin, /sbin and /lib lead into /usr.
mkdir -p fs/usr/{bin,sbin,lib}
for folder in bin sbin lib; do ln -s usr/$folder fs/$folder; done
for package in archives/*.deb; do
    dpkg --fsys-tarfile "$package" | tar -x -C fs --keep-directory-symlink \
        --exclude='./usr/share/doc/*' --exclude='./usr/share/man/*' --exclude='./usr/share/locale/*'
done
mkdir -p fs/etc/systemd/system/multi-user.target.wants fs/var/lib/dpkg/{info,updates,triggers}
cp fs/usr/share/base-passwd/passwd.master fs/etc/passwd
cp fs/usr/share/base-passwd/group.master fs/etc/group
# systemd-sysusers makes these at boot, beside systemd's own.
mkdir -p fs/usr/lib/sysusers.d fs/var/lib/mosquitto
echo 'u messagebus - "" /nonexistent' >fs/usr/lib/sysusers.d/dbus.conf
echo 'u mosquitto - "" /var/lib/mosquitto' >fs/usr/lib/sysusers.d/mosquitto.conf
mkdir -p fs/usr/lib/tmpfiles.d
printf 'Z /var/lib/mosquitto 0755 mosquitto mosquitto\nd /var/log/mosquitto 0755 mosquitto mosquitto\n' >fs/usr/lib/tmpfiles.d/mosquitto.conf
# Nobody logs in.
ln -sf /dev/null fs/etc/systemd/system/serial-getty@ttyAMA0.service
: >fs/etc/machine-id
echo vm >fs/etc/hostname
# Packages bring none; without it no client finds the broker at localhost.
printf '127.0.0.1 localhost\n127.0.1.1 vm\n' >fs/etc/hosts
ln -sf dash fs/bin/sh
ln -sf mawk fs/usr/bin/awk
ln -sf lib/systemd/systemd fs/init

ln -sf /lib/systemd/system/mosquitto.service fs/etc/systemd/system/multi-user.target.wants/
# What dpkg has to believe to install weir's package.
for package in archives/*.deb; do
    dpkg-deb --field "$package" Package Version Architecture Multi-Arch Provides Maintainer Description |
        sed '/^ /d; s/^Description:.*/&\nStatus: install ok installed\n/'
done >fs/var/lib/dpkg/status
tar -c -C fs -f rootfs.tar .
rm -rf fs boot archives log
echo "$key" >key
echo "$vm: rootfs.tar ($(stat -c %s rootfs.tar) bytes) and kernel $kernel"
