# 32-bit ARM with hardware floating point: Raspberry Pi 2 and later with a 32-bit system.
debian=armhf
tools=arm-linux-gnueabihf
qemu=qemu-arm-static
