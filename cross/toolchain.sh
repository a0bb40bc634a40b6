#!/bin/bash
# cross/toolchain.sh [sysroots|all]: makes cross/.toolchain (or $WEIR_TOOLCHAIN): libsystemd of arm64
# and armhf to link against and to run with (sysroots), and Debian's rustc with the standard libraries of
# both (all, the default). What is there stays as it is; delete the folder for newer versions.
#
# Nothing is installed: a package state of its own, signatures checked, packages unpacked with
# `dpkg -x`. (Foreign architectures in the system's own state break it: equal versions are
# demanded across architectures, and one index in mid-change fails every update.)
# The compiler comes from trixie and runs through trixie's loader; what is linked against comes from
# bookworm, so that binaries run on Debian 12 and later (glibc 2.34).
set -euo pipefail
what=${1:-all}
here=$(cd "$(dirname "$0")" && pwd)
dest=$(realpath -m "${WEIR_TOOLCHAIN:-$here/.toolchain}")
if [ -f "$dest/sysroots" ] && { [ "$what" = sysroots ] || [ -f "$dest/version" ]; }; then exit 0; fi
keys=/usr/share/keyrings/debian-archive-keyring.gpg

# The mirror that the machine already uses.
mirror=$(awk '/^URIs:/ { print $2; exit }' /etc/apt/sources.list.d/*.sources 2>/dev/null || true)
[ -n "$mirror" ] || mirror=$(awk '$1 == "deb" { for (i = 2; i <= NF; i++) if ($i ~ /:\/\//) { print $i; exit } }' /etc/apt/sources.list)
[ -n "$mirror" ] || { echo "cross/toolchain.sh: no Debian mirror in /etc/apt: this recipe needs Debian (or use Cross.toml)" >&2; exit 1; }

mkdir -p "$dest"
cd "$dest"

suite() { # suite NAME ARCHITECTURES: a private package state
    mkdir -p "apt/$1"/{lists/partial,archives/partial,none}
    : >"apt/$1/status"
    echo "deb [signed-by=$keys] $mirror $1 main" >"apt/$1/sources.list"
    cat >"apt/$1/conf" <<CONF
Dir::State::lists "$dest/apt/$1/lists";
Dir::State::status "$dest/apt/$1/status";
Dir::Cache "$dest/apt/$1";
Dir::Etc::sourcelist "$dest/apt/$1/sources.list";
Dir::Etc::sourceparts "$dest/apt/$1/none";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "$dest/apt/$1/none";
APT::Architecture "amd64";
APT::Architectures { $2 };
APT::Sandbox::User "root";
Acquire::Languages "none";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Acquire::Retries "3";
CONF
    for try in 1 2 3; do
        APT_CONFIG="$dest/apt/$1/conf" apt-get -qq update && return
        sleep $((try * 5))
    done
    echo "cross/toolchain.sh: cannot read the package index of $1" >&2
    return 1
}

get() { # get SUITE PACKAGE…: into debs/SUITE
    local suite=$1
    shift
    mkdir -p "debs/$suite"
    (cd "debs/$suite" && for try in 1 2 3; do
        APT_CONFIG="$dest/apt/$suite/conf" apt-get -qq download "$@" && exit
        sleep $((try * 5))
    done && exit 1)
}

needs() { # needs PACKAGE PATTERN: the dependency of that name, whatever its version today
    APT_CONFIG="$dest/apt/trixie/conf" apt-cache depends "$1" | awk -v p="$2" '$1 == "Depends:" && $2 ~ p { print $2; exit }'
}

# A stamp is written last: what was interrupted is made again.
if [ ! -f sysroots ]; then
    rm -rf debs sysroot-arm64 sysroot-armhf
    suite bookworm '"arm64"; "armhf";'
    for arch in arm64 armhf; do
        # Without libc6-dev: its linker script has absolute paths, which break the link of libsystemd-sys.
        get bookworm {libsystemd-dev,libsystemd0,libcap2,libgcrypt20,libgpg-error0,liblz4-1,liblzma5,libzstd1,libc6,libgcc-s1}:$arch
        for package in debs/bookworm/*_"$arch".deb; do dpkg -x "$package" "sysroot-$arch"; done
    done
    rm -rf debs
    date >sysroots
fi
[ "$what" = all ] || exit 0

rm -rf debs rust bin
suite trixie '"amd64"; "arm64"; "armhf";'
std=$(needs libstd-rust-web-dev '^libstd-rust-web-[0-9]')
llvm=$(needs "$std" '^libllvm')
icu=$(needs libxml2 '^libicu')
version=$(APT_CONFIG="$dest/apt/trixie/conf" apt-cache policy rustc-web | awk '/Candidate:/ { print $2 }')
get trixie rustc-web "$std" libstd-rust-web-dev{,:arm64,:armhf} libc6 libgcc-s1 libstdc++6 "$llvm" \
    zlib1g libzstd1 libz3-4 libedit2 libxml2 libffi8 libtinfo6 libbsd0 libmd0 liblzma5 ${icu:+"$icu"} libjemalloc2
for package in debs/trixie/*.deb; do dpkg -x "$package" rust; done
mkdir -p bin
lib=$dest/rust/usr/lib/x86_64-linux-gnu
# The allocator that rustup's compiler has built in: with glibc's small crates take a tenth more CPU.
cat >bin/rustc <<RUSTC
#!/bin/sh
exec $lib/ld-linux-x86-64.so.2 --library-path $lib --preload $lib/libjemalloc.so.2 --argv0 rustc $dest/rust/usr/bin/rustc --sysroot $dest/rust/usr "\$@"
RUSTC
chmod +x bin/rustc
bin/rustc -V
rm -rf debs
echo "$version" >version
