#!/usr/bin/env bash
# cross/deb.sh TARGET [BINARY]: makes target/debian/weir_VERSION_ARCH.deb for that target from a binary
# that is built already (default: what cross/build.sh left in target/cross/TARGET/release/weir), with
# man pages, completions, bill of materials and licences; then asks lintian. Prints path and size.
#
# WEIR_DEB_VERSION: another version for the package (tests of upgrades).
# WEIR_MAINTAINER: "Name <address>" of whoever is responsible for the package; default: Cargo.toml's.
set -euo pipefail
. "$(dirname "$0")/common.sh"
cd "$root"
host_builds
target=${1:?usage: cross/deb.sh TARGET [BINARY]}
binary=${2:-target/cross/$target/release/weir}
case $target in
x86_64-unknown-linux-gnu) arch=amd64 ;;
aarch64-unknown-linux-gnu) arch=arm64 ;;
armv7-unknown-linux-gnueabihf) arch=armhf ;;
*) fail "no package for $target" ;;
esac
[ -x "$binary" ] || fail "$binary is not there: cross/build.sh $target"

cross/packages.sh deb
cross/cargo-deb.sh
# Its files lie in one folder, by the names that Cargo.toml gives: one package at a time.
mkdir -p target
exec 9>target/package.lock
flock 9

# Before the next line: build scripts of C code look at the time set there, and all would be built anew.
# shellcheck disable=SC2086
cargo build --quiet --locked $features --example package_files
# Same sources, same bytes: every time in the package is that of the newest entry in its changelog.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(date -ud "$(sed -n 's/^ -- .*>  //p' packaging/changelog | head -n 1)" +%s)}
export SOURCE_DATE_EPOCH
stage=target/package
rm -rf "$stage"
mkdir -p "$stage" target/debian
"$CARGO_TARGET_DIR/debug/examples/package_files" "$stage" "$target"
# What a reader of the bill of materials relies on: required fields, and references that lead somewhere.
jq -e '[.metadata.component, .components[]] as $all | ($all | map(."bom-ref")) as $refs
    | .bomFormat == "CycloneDX" and .specVersion == "1.5" and .version == 1
    and ($all | length) > 50 and ($refs | unique | length) == ($refs | length)
    and all($all[]; .type and .name and .version and .purl and .licenses[0].expression)
    and all(.components[]; .hashes[0].content | test("^[0-9a-f]{64}$"))
    and ([.dependencies[].ref] | sort) == ($refs | sort)
    and ([.dependencies[].dependsOn[]] | unique) - $refs == []' "$stage/weir.cdx.json" >/dev/null ||
    fail 'the bill of materials is not well formed'

install -m 755 "$binary" "$stage/weir"
cp packaging/copyright "$stage/copyright"
cp packaging/changelog "$stage/changelog"
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)-1
[ "$(sed -n '1s/^weir (\(.*\)) .*/\1/p' packaging/changelog)" = "$version" ] ||
    fail "packaging/changelog does not begin with $version"
if [ -n "${WEIR_DEB_VERSION:-}" ]; then
    version=$WEIR_DEB_VERSION
    sed -i "1s/(.*)/($version)/" "$stage/changelog"
fi
maintainer=${WEIR_MAINTAINER:-$(sed -n 's/^maintainer = "\(.*\)"$/\1/p' Cargo.toml)}
sed -i "s/^ -- .*>  / -- ${maintainer//[\/&]/\\&}  /" "$stage/changelog"
for file in THIRD-PARTY weir.cdx.json; do gzip -9n <"$stage/$file" >"$stage/$file.gz"; done
# Debian's name for it.
gzip -9n <CHANGELOG.md >"$stage/changelog.gz"

# The package promises this libc.
glibc=$(readelf -W --version-info "$binary" | grep -o 'GLIBC_[0-9.]*' | sort -uV | tail -n 1)
[ "$(printf '%s\n' GLIBC_2.34 "$glibc" | sort -V | tail -n 1)" = GLIBC_2.34 ] ||
    fail "$binary needs $glibc, the package says libc6 (>= 2.34)"

deb=target/debian/weir_${version}_$arch.deb
rm -f "$deb"
cargo deb --quiet --no-build --no-strip --target "$target" --deb-version "$version" \
    --maintainer "$maintainer" --output "$deb"
# As root it says that it should not be; it reads the package and runs nothing of it.
lintian --allow-root --fail-on error,warning --tag-display-limit 0 "$deb"
echo "$deb: $(stat -c %s "$deb") bytes, $glibc"
