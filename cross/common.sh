# Sourced by the scripts beside it: what cargo needs to know to build weir for TARGET and to run it
# here. `cross_env TARGET` exports it; what differs between targets is in the file of that name.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
toolchain=$(realpath -m "${WEIR_TOOLCHAIN:-$root/cross/.toolchain}")
targets_arm="aarch64-unknown-linux-gnu armv7-unknown-linux-gnueabihf"
# What packages ship: no embedded broker, libsystemd.
features="--no-default-features --features systemd"
# Apart from target/, so that two compilers do not build there in turns.
CARGO_TARGET_DIR=$root/target/cross
PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin:/usr/sbin:/sbin
export CARGO_TARGET_DIR PATH

# fail TEXT: says which script, and ends it.
fail() {
    echo "cross/$(basename "$0"): $*" >&2
    exit 1
}

# Which compiler: rustup's where it has this target's standard library, else Debian's.
# WEIR_CROSS=debian takes Debian's in any case.
compiler() { # compiler TARGET
    if [ "$1" = x86_64-unknown-linux-gnu ]; then
        echo rustup
    elif [ "${WEIR_CROSS:-}" != debian ] && [ -d "$(rustc --print sysroot)/lib/rustlib/$1/lib" ]; then
        echo rustup
    else
        echo debian
    fi
}

# Makes what these targets need of the toolchain.
prepare() { # prepare TARGET…
    local target
    for target in "$@"; do
        case $(compiler "$target") in
        debian) "$root/cross/toolchain.sh" all ;;
        *) [ "$target" = x86_64-unknown-linux-gnu ] || "$root/cross/toolchain.sh" sysroots ;;
        esac
    done
}

# Sets debian, tools, qemu, sysroot, runner and binary for TARGET; exports what cargo reads.
cross_env() { # cross_env TARGET
    target=$1
    [ -f "$root/cross/$target.sh" ] || fail "no recipe for '$target'; there are: $(recipes)"
    # shellcheck disable=SC1090
    . "$root/cross/$target.sh"
    binary=$CARGO_TARGET_DIR/$target/release/weir
    runner=
    unset RUSTC
    [ -n "$qemu" ] || return 0
    sysroot=$toolchain/sysroot-$debian
    runner="$qemu -L $sysroot"
    if [ "$(compiler "$target")" = debian ]; then export RUSTC=$toolchain/bin/rustc; fi
    local upper lower
    upper=$(tr a-z- A-Z_ <<<"$target") lower=${target//-/_}
    export "CARGO_TARGET_${upper}_LINKER=$tools-gcc"
    export "CARGO_TARGET_${upper}_RUNNER=$runner"
    # libsystemd's own dependencies are found beside it; nothing else of the sysroot is linked.
    export "CARGO_TARGET_${upper}_RUSTFLAGS=-C link-arg=-Wl,-rpath-link,$sysroot/usr/lib/$tools -C link-arg=-Wl,-rpath-link,$sysroot/lib/$tools"
    export "CC_$lower=$tools-gcc" "AR_$lower=$tools-ar"
    export PKG_CONFIG_ALLOW_CROSS=1
    export "PKG_CONFIG_SYSROOT_DIR_$lower=$sysroot" "PKG_CONFIG_LIBDIR_$lower=$sysroot/usr/lib/$tools/pkgconfig"
}

# The targets that there are recipes for.
recipes() {
    (cd "$root/cross" && ls -- *-linux-*.sh | sed 's/\.sh$//' | tr '\n' ' ')
}
