#!/usr/bin/env bash
# cross/cargo-deb.sh: installs the cargo-deb that cross/deb.sh is written for, unless it is there. Without
# optimisation and with the system's xz in place of a bundled one: it runs for a second, and building it
# otherwise takes three times as long.
set -euo pipefail
export PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin
version=3.8.0
if cargo deb --version 2>/dev/null | grep -qF "$version"; then exit 0; fi
echo "installing cargo-deb $version"
CARGO_PROFILE_DEV_DEBUG=false cargo install --quiet --locked --debug --no-default-features cargo-deb --version "$version"
