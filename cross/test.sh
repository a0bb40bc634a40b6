#!/usr/bin/env bash
# cross/test.sh TARGET… (`make cross-test`): golden tests, then unit tests, of TARGET under qemu-user.
set -euo pipefail
here=$(dirname "$0")
"$here/golden.sh" "$@"
"$here/unit.sh" "$@"
