#!/bin/bash
# Runs inside the virtual machine, as the service vm-tests: weir.service on a real ARM kernel with a
# real systemd. Writes to the console; its last line is the verdict that run.sh looks for.
set -u
failed=0
work=/run/vm-tests
mkdir -p $work
began=$(cut -d. -f1 /proc/uptime)
seconds() { echo $(($(cut -d. -f1 /proc/uptime) - began)); }

say() { echo "vm: $*" >/dev/console; }
# check NAME COMMAND…: one line a check.
check() {
    local name=$1
    shift
    if "$@" >$work/out 2>&1; then
        say "ok      $name ($(seconds) s)"
    else
        failed=1
        say "FAILED  $name"
        tail -n 5 $work/out | sed 's/^/vm:   /' >/dev/console
    fi
}
# within SECONDS COMMAND…: asks again and again.
within() {
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        [ $SECONDS -lt $end ] || return 1
        sleep 0.2
    done
}

pid() { systemctl show --value --property=MainPID weir; }
# An HTTP GET without curl.
get() {
    exec 3<>/dev/tcp/127.0.0.1/9377 || return 1
    printf 'GET %s HTTP/1.0\r\nHost: localhost\r\n\r\n' "$1" >&3
    cat <&3
    exec 3>&-
} 2>/dev/null
ready() { get /readyz | head -n 1 | grep -q ' 200 '; }
another() { [ "$(pid)" != 0 ] && [ "$(pid)" != "$1" ] && ready; }
says() { journalctl -q -u weir -o cat --no-pager | grep -qF -- "$1"; }

# Readings of 10 devices, one a second from second $1 to second $2 of 2026, each acknowledged. They
# count as published before they are, so that one which does not get through is missed in the panes.
published=0
publish() {
    local d
    published=$((published + 10 * ($2 - $1 + 1)))
    for d in 0 1 2 3 4 5 6 7 8 9; do
        seq "$1" "$2" | awk -v d="$d" '{ printf "{\"value\": %d.25, \"ts\": %d}\n", ($1 + d) % 17, 1767225600 + $1 }' |
            mosquitto_pub -q 1 -l -t "sensors/dev-$d/temperature" || return 1
    done
}
# Readings in all panes that came out. A pane may be published again after a kill, with equal bytes.
# The last one closes when nothing more comes.
counted() {
    sort -u $work/aggregates | sed -n 's/.*"count":\([0-9]*\).*/\1/p' | awk '{ sum += $1 } END { print sum + 0 }'
}
exact() {
    have=$(counted)
    echo "$have of $published readings are in the panes"
    [ "$have" = "$published" ]
}
nothing_blocked() { ! journalctl -q -k --no-pager | grep 'type=1326'; }
sandboxed() { grep -q '^Seccomp:[[:space:]]*2' "/proc/$(pid)/status" && grep -q '^CapEff:[[:space:]]*0*$' "/proc/$(pid)/status"; }
# Of the thread of background fits: field 19.
niceness() { awk '$2 == "(fits)" { print $19 }' "/proc/$(pid)"/task/*/stat; }

echo >/dev/console
finish() {
    if [ $failed = 1 ]; then
        journalctl -q --no-pager -u weir -n 60 | sed 's/^/vm:   /' >/dev/console
        journalctl -q --no-pager -k | grep 'type=1326' | sed 's/^/vm:   /' >/dev/console
        say 'verdict: FAILED'
    else
        say "verdict: passed, $(seconds) s"
    fi
    sync
    sleep 1
    systemctl poweroff --force --force
    exit
}

say "$(uname -mr), $(systemctl --version | head -n 1), up $(cut -d. -f1 /proc/uptime) s"
check 'the broker runs' within 60 systemctl -q is-active mosquitto
check 'weir.service is active' within 120 systemctl -q is-active weir
check 'it is connected and takes readings' within 60 ready
# Without that nothing that follows can pass.
if [ $failed = 1 ]; then finish; fi
resident() {
    echo "$(awk '/VmRSS/ { print $2, $3 }' "/proc/$(pid)/status"); cgroup: $(($(systemctl show --value --property=MemoryCurrent weir) / 1024)) kB"
}
say "        resident: $(resident) idle, without a series"
check 'seccomp filters, no capability is left' sandboxed
check 'background fits have a lower priority' within 10 eval '[ "$(niceness)" = 10 ]'
stdbuf -oL mosquitto_sub -q 1 -t 'weir/+/+/+/aggregate' >$work/aggregates &
sub=$!
# The retained status says that the subscription stands: an estimate is published once.
stdbuf -oL mosquitto_sub -q 0 -t 'weir/+/status' -t 'weir/+/+/+/estimate' >$work/estimates &
check 'subscribed to the results' within 30 test -s $work/estimates
sleep 1

check 'readings are published' publish 0 99
check 'panes come out, each reading in one' within 60 exact
check 'estimates come out' within 10 grep -q '"level"' $work/estimates
before=$(pid)
say "        resident: $(resident), with 10 series"

check 'more of them' publish 100 129
kill -9 "$before"
check 'while it is away, too' publish 130 139
check 'kill -9: systemd starts it again' within 60 another "$before"
check '… and when it is back' publish 140 199
check 'counts are exact over the kill' within 60 exact

cp /etc/weir/weir.toml $work/good.toml
printf '\n[[profile]]\nmatch = { device = "dev-1" }\nunit = "K"\n' >>/etc/weir/weir.toml
before=$(pid)
check 'reload' systemctl reload weir
check 'reload is said' within 20 says 'configuration reloaded'
check 'reload keeps the process' test "$(pid)" = "$before"
echo 'lateness = 5' >>/etc/weir/weir.toml
check 'a reload with a faulty configuration fails' eval '! systemctl reload weir'
check '… and it goes on' ready
cp $work/good.toml /etc/weir/weir.toml
systemctl reload weir

before=$(pid)
kill -STOP "$before"
check 'a hang ends by the watchdog, and it starts again' within 90 another "$before"
check '… more readings' publish 200 229
check 'counts are exact over the hang' within 60 exact
check 'the watchdog did it' within 10 eval 'journalctl -q --no-pager | grep -q "weir.service: Watchdog timeout"'

check 'no system call was refused' nothing_blocked
began_stop=$(date +%s%N)
check 'stop' systemctl stop weir
took=$((($(date +%s%N) - began_stop) / 1000000))
say "        stop took $took ms"
check 'stopped cleanly' test "$(systemctl show --value --property=Result weir)" = success
kill $sub

# That a refused call would have been seen: one service that does what its filter forbids.
systemd-run -q --wait -p SystemCallFilter='~sync' /bin/sync 2>/dev/null
check 'a refused system call shows in the kernel log' within 10 eval '! nothing_blocked >/dev/null'

finish
