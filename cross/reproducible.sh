#!/usr/bin/env bash
# cross/reproducible.sh: builds the amd64 package twice, from two folders with names of different
# length, and compares program and package byte by byte. Takes two release builds.
#
# What makes it so: paths of sources are mapped away, times come from packaging/changelog, lists are
# sorted. The compiler, libc and the C compiler must be the same ones; they are not pinned here.
# WEIR_PROFILE: another cargo profile (dev is faster; default release).
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin
profile=${WEIR_PROFILE:-release}
target=x86_64-unknown-linux-gnu
work=$PWD/target/reproducible
rm -rf "$work"
# Once: a commit meanwhile would be another source.
commit=$(git rev-parse HEAD)

build() { # build FOLDER
    mkdir -p "$1"
    git archive "$commit" | tar -x -C "$1"
    (
        cd "$1"
        export CARGO_TARGET_DIR=$1/target
        export RUSTFLAGS="--remap-path-prefix=$1=/weir --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo"
        cargo build --quiet --locked --profile "$profile" --bin weir --no-default-features --features systemd
        cp "target/$([ "$profile" = dev ] && echo debug || echo "$profile")/weir" weir
        # What makes the package's other files is no part of it: one build for both.
        unset RUSTFLAGS
        WEIR_HOST_TARGET=$work/.. cross/deb.sh $target weir
    )
}
build "$work/a"
build "$work/a-folder-with-a-longer-name"

verdict=0
for file in weir target/debian/weir_\*_amd64.deb; do
    # shellcheck disable=SC2086
    one=$(echo "$work"/a/$file) two=$(echo "$work"/a-folder-with-a-longer-name/$file)
    if cmp "$one" "$two"; then
        echo "same bytes: $(basename "$one") $(sha256sum <"$one" | cut -c1-16)"
    else
        echo "DIFFERENT: $(basename "$one")" && verdict=1
    fi
done
exit $verdict
