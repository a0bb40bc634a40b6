#!/usr/bin/env bash
# cross/smoke.sh TARGET: the real binary for TARGET, under qemu-user, against real brokers. The tests
# themselves run on this machine and only drive it: readings in, estimates and aggregates out, killed
# and restarted with exact counts, reload, stop within 5 s, READY=1 to systemd; and its state and
# records, made on ARM, are equal bit for bit to a replay of its journal here.
set -euo pipefail
. "$(dirname "$0")/common.sh"
[ $# = 1 ] || fail "one target, please: $(recipes)"
"$root/.ci/packages"
"$root/cross/packages.sh" run
cross_env "$1"
[ -x "$binary" ] || fail "$binary is not there: make cross TARGET=$1"
export WEIR_COMMAND="$runner $binary"
host_builds

tests() { # tests TEST FILTER…: prints what cargo says of it
    local test=$1
    shift
    echo "== $target: $test $*"
    # shellcheck disable=SC2086
    (cd "$root" && cargo test --quiet --locked $features --test "$test" -- --test-threads 2 --nocapture "$@")
}
# Emulation is slow: fewer messages a second than natively.
export KILLS=${KILLS:-5} RATE=${RATE:-100}
tests crash
tests daemon lifecycle:: alarms:: a_start_configuration_gives

# Idle: connected to nothing, no series.
scratch=$(mktemp -d)
trap 'kill "${pid:-}" 2>/dev/null || true; rm -rf "$scratch"' EXIT
printf '[state]\npath = "%s/state"\n[clock]\ntrust = "always"\n[http]\nlisten = "127.0.0.1:0"\n[mqtt]\nurl = "mqtt://127.0.0.1:1"\n' "$scratch" >"$scratch/weir.toml"
printf '[[mqtt.subscribe]]\ntopics = ["s/{device}/{metric}"]\nformat = "text"\n' >>"$scratch/weir.toml"
$WEIR_COMMAND run --config "$scratch/weir.toml" 2>"$scratch/log" &
pid=$!
for _ in $(seq 100); do
    if grep -q 'page and metrics at' "$scratch/log"; then break; fi
    sleep 0.2
done
sleep 2
echo "$target idle: $(awk '/^VmRSS/ { print $2, $3 }' "/proc/$pid/status") resident (with qemu-user's own memory: not what a board needs; cross/vm prints that)"
kill "$pid"
wait "$pid" || fail "it did not stop cleanly: $(cat "$scratch/log")"
