#!/usr/bin/env bash
# cross/deb.sh TARGET [BINARY]: makes target/debian/weir_VERSION_ARCH.deb for that target from a binary
# that is built already (default: what cross/build.sh left in target/cross/TARGET/release/weir), with
# man pages, completions, bill of materials and licences; then asks lintian. Prints path and size.
#
# WEIR_DEB_VERSION: another version for the package (tests of upgrades).
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin
cargo_deb=3.8.0
target=${1:?usage: cross/deb.sh TARGET [BINARY]}
binary=${2:-target/cross/$target/release/weir}
case $target in
x86_64-unknown-linux-gnu) arch=amd64 ;;
aarch64-unknown-linux-gnu) arch=arm64 ;;
armv7-unknown-linux-gnueabihf) arch=armhf ;;
*) echo "cross/deb.sh: no package for $target" >&2 && exit 2 ;;
esac
[ -x "$binary" ] || { echo "cross/deb.sh: $binary is not there: cross/build.sh $target" >&2; exit 1; }

wanted=$(for tool in lintian jq readelf:binutils; do
    command -v "${tool%:*}" >/dev/null || echo "${tool#*:}"
done)
# shellcheck disable=SC2086
[ -z "$wanted" ] || .ci/install 'packages' $wanted
if ! cargo deb --version 2>/dev/null | grep -qxF "$cargo_deb"; then
    echo "installing cargo-deb $cargo_deb"
    cargo install --quiet --locked cargo-deb --version "$cargo_deb"
fi

# Same sources, same bytes: every time in the package is that of the newest entry in its changelog.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(date -ud "$(sed -n 's/^ -- .*>  //p' packaging/changelog | head -n 1)" +%s)}
export SOURCE_DATE_EPOCH
stage=target/package
rm -rf "$stage"
mkdir -p "$stage" target/debian
cargo run --quiet --locked --no-default-features --features systemd --example package_files -- "$stage" "$target"
# An independent count: what cargo's own tree says is linked (the first line is weir itself).
cargo tree --locked --target "$target" --no-default-features --features systemd -e normal,no-proc-macro \
    --prefix none --format '{p}' | sed 's/ (.*//; s/ v/ /' | sort -u >"$stage/tree"
jq -r '.metadata.component, .components[] | "\(.name) \(.version)"' "$stage/weir.cdx.json" | sort -u |
    diff "$stage/tree" - >&2 || { echo "cross/deb.sh: the bill of materials is not what cargo links" >&2; exit 1; }

install -m 755 "$binary" "$stage/weir"
cp packaging/copyright "$stage/copyright"
cp packaging/changelog "$stage/changelog"
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)-1
[ "$(sed -n '1s/^weir (\(.*\)) .*/\1/p' packaging/changelog)" = "$version" ] ||
    { echo "cross/deb.sh: packaging/changelog does not begin with $version" >&2; exit 1; }
if [ -n "${WEIR_DEB_VERSION:-}" ]; then
    version=$WEIR_DEB_VERSION
    sed -i "1s/(.*)/($version)/" "$stage/changelog"
fi
for file in CHANGELOG.md "$stage/THIRD-PARTY" "$stage/weir.cdx.json"; do
    gzip -9n <"$file" >"$stage/$(basename "$file").gz"
done

# The package promises this libc.
glibc=$(readelf -W --version-info "$binary" | grep -o 'GLIBC_[0-9.]*' | sort -uV | tail -n 1)
[ "$(printf '%s\n' GLIBC_2.34 "$glibc" | sort -V | tail -n 1)" = GLIBC_2.34 ] ||
    { echo "cross/deb.sh: $binary needs $glibc, the package says libc6 (>= 2.34)" >&2; exit 1; }

deb=target/debian/weir_${version}_$arch.deb
rm -f "$deb"
cargo deb --quiet --no-build --no-strip --target "$target" --deb-version "$version" --output "$deb"
lintian --fail-on error,warning --tag-display-limit 0 "$deb"
echo "$deb: $(stat -c %s "$deb") bytes, $glibc"
