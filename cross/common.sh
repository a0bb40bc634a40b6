# Sourced by the scripts beside it: what cargo needs to know to build weir for TARGET and to run it
# here. `cross_env TARGET` exports it; what differs between targets is in the file of that name.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
toolchain=$(realpath -m "${WEIR_TOOLCHAIN:-$root/cross/.toolchain}")
targets_arm="aarch64-unknown-linux-gnu armv7-unknown-linux-gnueabihf"
# What packages ship: no embedded broker, libsystemd.
features="--no-default-features --features systemd"
# Apart from target/, so that two compilers do not build there in turns; x86-64 has a folder of its own
# in there (for_targets), so that it builds beside the others.
CARGO_TARGET_DIR=$root/target/cross
PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin:/usr/sbin:/sbin
export CARGO_TARGET_DIR PATH CARGO_INCREMENTAL=0

# fail TEXT: says which script, and ends it.
fail() {
    echo "cross/$(basename "$0"): $*" >&2
    exit 1
}

# Which compiler: for x86-64 the machine's (native); for others rustup's where it has the target's standard
# library, else Debian's. WEIR_CROSS=debian takes Debian's in any case.
compiler() { # compiler TARGET
    if [ "$1" = x86_64-unknown-linux-gnu ]; then
        echo native
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
        rustup) "$root/cross/toolchain.sh" sysroots ;;
        native) ;;
        esac
    done
}

# Sets debian, tools, qemu, sysroot, runner and binary for TARGET; exports what cargo reads.
cross_env() { # cross_env TARGET
    target=$1
    [ -f "$root/cross/$target.sh" ] || fail "no recipe for '$target'; there are: $(recipes)"
    # shellcheck disable=SC1090
    . "$root/cross/$target.sh"
    binary=$root/target/cross/$target/release/weir
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

# From here on cargo builds what runs on this machine and only drives the binary for TARGET, or makes
# files for packages: the same features and settings in every script, so that they share one build.
# WEIR_HOST_TARGET: another folder for it.
host_builds() {
    unset RUSTC
    export CARGO_TARGET_DIR=${WEIR_HOST_TARGET:-$root/target}
    export CARGO_PROFILE_DEV_OPT_LEVEL=0 CARGO_PROFILE_DEV_DEBUG=false
}

# Runs COMMAND with `--target` for each TARGET of one compiler together, which shares build scripts and
# keeps all cores busy; once for each compiler that is needed.
for_targets() { # for_targets COMMAND TARGET…
    local command=$1 which target args
    shift
    for which in debian rustup native; do
        args=()
        for target in "$@"; do
            if [ "$(compiler "$target")" = $which ]; then args+=(--target "$target"); fi
            cross_env "$target"
        done
        [ ${#args[@]} -gt 0 ] || continue
        unset RUSTC
        if [ $which = debian ]; then export RUSTC=$toolchain/bin/rustc; fi
        (
            # Without --target cargo writes into release/ itself: the same path as for the others.
            if [ $which = native ]; then CARGO_TARGET_DIR=$CARGO_TARGET_DIR/x86_64-unknown-linux-gnu args=(); fi
            cd "$root" && "$command" "${args[@]}"
        ) || return 1
    done
}

# The targets that there are recipes for.
recipes() {
    (cd "$root/cross" && ls -- *-linux-*.sh | sed 's/\.sh$//' | tr '\n' ' ')
}
