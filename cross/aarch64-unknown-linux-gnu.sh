# 64-bit ARM: Raspberry Pi 3 and later with a 64-bit system, most gateways of today.
debian=arm64
tools=aarch64-linux-gnu
qemu=qemu-aarch64-static
