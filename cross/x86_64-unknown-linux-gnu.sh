# Small x86 boxes: built with the compiler and the libsystemd of the machine itself, run without qemu.
debian=amd64
tools=
qemu=
