#!/usr/bin/env bash
# Runs inside the container as root, with systemd as PID 1 (see run.sh): installs, uses, upgrades and
# purges the package, and writes one line for each check to /results/table.
# Packages: /root/old.deb, /root/new.deb (the same but for the version).
set -u
exec >/results/output 2>&1 9>/results/log
BASH_XTRACEFD=9
set -x
table=/results/table
: >$table
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8

# check NAME COMMAND…: one line; the command's last line of output is the detail.
check() {
    local name=$1 out verdict=ok
    shift
    out=$("$@" 2>&1) || verdict=FAILED
    printf '%-6s  %-58s  %s\n' $verdict "$name" "$(tail -n 1 <<<"$out" | cut -c1-100)" >>$table
}
# eventually COMMAND…: until it succeeds, a minute at most (the machine may be busy).
eventually() {
    local end=$((SECONDS + 60)) out
    until out=$("$@" 2>&1); do
        if [ $SECONDS -ge $end ]; then echo "not within 60 s: $* ($out)" && return 1; fi
        sleep 0.2
    done
    echo "$out"
}
is() { [ "$1" = "$2" ] && echo "$1" || { echo "$1, not $2"; return 1; }; }
prop() { systemctl show -P "$1" "${2:-weir.service}"; }
page=http://127.0.0.1:9377
ready() { [ "$(curl -s -o /dev/null -w '%{http_code}' "${1:-$page}/readyz")" = 200 ] && echo 200; }
metric() { curl -s "${2:-$page}/metrics" | awk -v m="$1" '$1 == m { print $2 }'; }
total() { metric weir_readings_total "$@"; }
total_is() { is "$(total "${2:-$page}")" "$1"; }
journal_has() { journalctl -q --no-pager -o cat "${@:2}" | grep -qF -- "$1" && echo "$1"; }
# said TEXT UNIT: since the last mark.
mark() { since=$(date +%s.%N); }
said() { journal_has "$1" -u "${2:-weir.service}" --since "@$since"; }
new_pid() { [ "$(prop MainPID)" != "$1" ] && [ "$(prop MainPID)" != 0 ] && [ "$(prop ActiveState)" = active ] && echo "$1 -> $(prop MainPID)"; }

# Readings: one a second of event time, the same for every run of this script; `published` counts.
base=$(($(date +%s) / 60 * 60 - 3600))
published=0
publish() { # publish COUNT
    seq $published $((published + $1 - 1)) |
        awk -v b=$base '{ printf "{\"value\": %.2f, \"ts\": %d}\n", 20 + $1 % 7, b + $1 }' |
        mosquitto_pub -h 127.0.0.1 -q 1 -t sensors/boiler/temperature -l
    published=$((published + $1))
}
settings() { # settings: to weir.toml, as an operator would
    sed -i 's/^# id = "gw-01"/id = "gw"/; s/^# trust = "ntp"/trust = "always"/' "$1"
}

echo "systemd $(systemctl --version | awk 'NR == 1 { print $2 }'), $(. /etc/os-release && echo "$PRETTY_NAME")" >/results/system
cat >/etc/mosquitto/conf.d/test.conf <<CONF
per_listener_settings true
listener 1883 127.0.0.1
allow_anonymous true
max_queued_messages 0
listener 1884 127.0.0.1
allow_anonymous false
password_file /etc/mosquitto/passwords
CONF
mosquitto_passwd -b -c /etc/mosquitto/passwords gateway 'the secret'
chown mosquitto /etc/mosquitto/passwords
systemctl restart mosquitto
systemd-run -q --unit=listener sh -c 'mosquitto_sub -h 127.0.0.1 -v -t "weir/#" >/results/messages'

# --- installation
check 'installs (old version)' dpkg -i /root/old.deb
check 'enabled' systemctl is-enabled weir
check 'active' eventually systemctl is-active weir
check 'the start configuration is good' weir check --config /etc/weir/weir.toml
settings /etc/weir/weir.toml
check 'restarts' systemctl restart weir
check 'takes readings (/readyz)' eventually ready
check 'status line' eventually sh -c 'systemctl show -P StatusText weir | grep readings'
check 'man pages' sh -c 'ls /usr/share/man/man1/weir.1.gz /usr/share/man/man1/weir-run.1.gz /usr/share/man/man5/weir.toml.5.gz | wc -l'

# --- data
publish 200
check 'readings in' eventually total_is $published
aggregated() { awk '$1 ~ /\/aggregate$/' /results/messages | sed 's/^[^{]*//' | jq -s 'map(.count) | add // 0'; }
# 200 seconds: three whole minutes of them are closed.
check 'aggregates out, with the counts that went in' eventually sh -c "$(declare -f is aggregated); is \$(aggregated) 180"

# --- sandbox
pid=$(prop MainPID)
in_status() { awk -v k="$1:" '$1 == k { print $2 }' "/proc/$pid/status"; }
exposure() {
    local score
    score=$(systemd-analyze security --no-pager weir.service | awk '/Overall exposure/ { print $(NF-2) }')
    echo "$score" && awk -v s="$score" 'BEGIN { exit !(s != "" && s <= 1.3) }'
}
check 'exposure at most 1.3' exposure
check 'no capabilities' is "$(in_status CapEff)" 0000000000000000
check 'none to be had' is "$(in_status CapBnd)" 0000000000000000
check 'seccomp filter' is "$(in_status Seccomp)" 2
check 'no new privileges' is "$(in_status NoNewPrivs)" 1
check 'not root' sh -c "ps -o user= -p $pid | grep -v root"
for path in /etc /usr /var/lib; do
    check "$path is read-only" sh -c "nsenter -t $pid -m touch $path/x 2>&1 | grep 'Read-only file system'"
done
fits=$(grep -lx fits /proc/"$pid"/task/*/comm | head -n 1 | cut -d/ -f5)
check 'background fits have a lower priority' is "$(awk '{ print $19 }' "/proc/$pid/task/$fits/stat")" 10
check 'its state is there' sh -c 'stat -c "%n %a" /var/lib/private/weir | grep " 700"'
check 'no system call was refused' sh -c '! journalctl -k -q --no-pager | grep "type=1326"'

# --- reload
mark
mkdir -p /etc/weir/conf.d
printf '[batch]\ninterval = "500ms"\n[[alarm]]\nname = "hot"\nmatch = { metric = "temperature" }\nabove = 80.0\n' >/etc/weir/conf.d/test.toml
check 'reload' systemctl reload weir
check '… is taken over' eventually said 'configuration reloaded'
printf '[batch]\nintervall = "1s"\n' >/etc/weir/conf.d/bad.toml
check 'reload of a bad configuration fails' sh -c '! systemctl reload weir && echo refused'
check '… with place and mend' eventually said 'bad.toml:2:1: [batch] intervall'
kill -HUP "$pid"
check '… by SIGHUP too, and the old one goes on' eventually said 'new configuration refused, the old one goes on'
check '… in the same process' is "$(prop MainPID)" "$pid"
mark
systemctl restart weir
check 'start with a bad configuration: exit 78' is "$(prop ExecMainStatus)" 78
check '… and no restart' is "$(prop NRestarts) $(prop ActiveState)" '0 failed'
rm /etc/weir/conf.d/bad.toml
check 'mended, it starts' systemctl start weir
check '… with its counts' eventually total_is $published

# --- journal
mark
mosquitto_pub -h 127.0.0.1 -q 1 -t sensors/boiler/temperature -m nonsense
check 'journal field: WEIR_REASON=malformed' eventually journal_has 'dropped:' WEIR_REASON=malformed
mosquitto_pub -h 127.0.0.1 -q 1 -t sensors/boiler/temperature -m "{\"value\": 95, \"ts\": $((base + published))}"
published=$((published + 1))
check 'journal fields: WEIR_DEVICE, WEIR_METRIC, WEIR_ALARM' eventually journal_has 'alarm begins' WEIR_DEVICE=boiler WEIR_METRIC=temperature WEIR_ALARM=hot
check '… of the unit, with priority' sh -c 'journalctl -q -o json -u weir WEIR_ALARM=hot | head -n 1 | jq -re "[._TRANSPORT, .PRIORITY, .SYSLOG_IDENTIFIER] | join(\" \")" | grep "journal 6 weir"'

# --- failures
pid=$(prop MainPID)
kill -KILL "$pid"
check 'kill -9: restarted' eventually new_pid "$pid"
check '… with its counts' eventually total_is $published
publish 50
check '… and goes on' eventually total_is $published

mkdir -p /etc/systemd/system/weir.service.d
printf '[Service]\nWatchdogSec=3s\n' >/etc/systemd/system/weir.service.d/watchdog.conf
systemctl daemon-reload
systemctl restart weir
eventually ready
mark
pid=$(prop MainPID)
kill -STOP "$pid"
check 'hang (SIGSTOP): watchdog' eventually said 'Watchdog timeout'
check '… restarted' eventually new_pid "$pid"
eventually ready
mark
pid=$(prop MainPID)
# Only the pipeline hangs, in its fsync; the process and its main thread live.
thread=$(grep -lx pipeline /proc/"$pid"/task/*/comm | head -n 1 | cut -d/ -f5)
systemd-run -q --unit=stall strace -o /dev/null -p "$thread" -e trace=fsync,fdatasync -e inject=fsync,fdatasync:delay_enter=40000000
eventually grep -q 'TracerPid:[[:space:]]*[1-9]' "/proc/$pid/task/$thread/status"
publish 1
check 'stalled pipeline, live process: watchdog' eventually said 'Watchdog timeout'
systemctl stop stall
check '… restarted' eventually new_pid "$pid"
check '… nothing lost, nothing counted twice' eventually total_is $published
rm /etc/systemd/system/weir.service.d/watchdog.conf

# --- credentials
printf 'the secret\n' >/etc/weir/broker.password
chmod 600 /etc/weir/broker.password
cp /usr/share/doc/weir/examples/systemd/credentials.conf /etc/systemd/system/weir.service.d/
printf '[mqtt]\nurl = "mqtt://127.0.0.1:1884"\nusername = "gateway"\npassword_file = "broker.password"\n' >/etc/weir/conf.d/login.toml
systemctl daemon-reload
check 'credential: restarts' systemctl restart weir
check '… the broker lets it in' eventually ready
mark
check '… reload goes through' systemctl reload weir
check '… and is taken over' eventually said 'configuration reloaded'
check '… counts' eventually total_is $published
rm -r /etc/systemd/system/weir.service.d /etc/weir/conf.d/login.toml
systemctl daemon-reload
systemctl restart weir
eventually ready

# --- newer systemd: reload that waits
if [ "$(systemctl --version | awk 'NR == 1 { print $2 }')" -ge 253 ]; then
    mkdir -p /etc/systemd/system/weir.service.d
    cp /usr/share/doc/weir/examples/systemd/notify-reload.conf /etc/systemd/system/weir.service.d/
    systemctl daemon-reload
    systemctl restart weir
    check 'Type=notify-reload' is "$(prop Type)" notify-reload
    mark
    check '… reload returns when it is done' sh -c 'systemctl reload weir'
    check '… and was done' said 'configuration reloaded'
    rm -r /etc/systemd/system/weir.service.d
    systemctl daemon-reload
    systemctl restart weir
fi

# --- several instances
for i in a b; do
    port=$([ $i = a ] && echo 9378 || echo 9379)
    sed "s/^id = \"gw\"/id = \"$i\"/; s/^# listen = .*/listen = \"127.0.0.1:$port\"/" /etc/weir/weir.toml >/etc/weir/$i.toml
done
check 'two instances' systemctl enable --now weir@a weir@b
for i in a b; do
    url=http://127.0.0.1:$([ $i = a ] && echo 9378 || echo 9379)
    check "… $i is ready" eventually ready "$url"
done
publish 20
check '… a counts what came' eventually total_is 20 http://127.0.0.1:9378
check '… b too' eventually total_is 20 http://127.0.0.1:9379
check '… weir.service beside them' eventually total_is $published
check '… each with its own state' sh -c 'ls -d /var/lib/private/weir-a/WEIR /var/lib/private/weir-b/WEIR | wc -l'
pid=$(prop MainPID weir@b.service)
systemctl kill -s KILL weir@a
check '… one killed, the other goes on' is "$(prop MainPID weir@b.service) $(prop NRestarts weir@b.service)" "$pid 0"
check '… and the killed one is back' eventually ready http://127.0.0.1:9378

# --- socket activation
check 'weir.socket is off by default' sh -c 'systemctl is-enabled weir.socket | grep disabled'
systemctl stop weir.service
systemctl start weir.socket
by_path() { curl -s --max-time 60 --unix-socket /run/weir/http.sock "http://localhost$1"; }
check 'a visit to the path starts it' sh -c "$(declare -f by_path); by_path /api/status | jq -re .gateway"
check '… the service' eventually systemctl is-active weir.service
check '… ready' eventually sh -c "curl -sf --unix-socket /run/weir/http.sock http://localhost/readyz"
check '… metrics there' sh -c "curl -sf --unix-socket /run/weir/http.sock http://localhost/metrics | awk '\$1 == \"weir_readings_total\" { print \$2 }' | grep -x $published"
check '… no port besides' sh -c '! curl -s http://127.0.0.1:9377/ && echo closed'
check '… the path is for root' sh -c 'stat -c "%U %a" /run/weir/http.sock | grep "root 660"'
systemctl stop weir.socket weir.service
mkdir -p /etc/systemd/system/weir.socket.d
printf '[Socket]\nListenStream=\nListenStream=127.0.0.1:9400\n' >/etc/systemd/system/weir.socket.d/port.conf
systemctl daemon-reload
systemctl start weir.socket
systemctl start weir
check '… a port of systemd works as well' eventually ready http://127.0.0.1:9400
systemctl stop weir.socket weir.service
printf '[Socket]\nListenStream=\nListenStream=0.0.0.0:9400\n' >/etc/systemd/system/weir.socket.d/port.conf
systemctl daemon-reload
systemctl start weir.socket
mark
systemctl start weir
check '… but not one for everybody' eventually said 'beyond loopback'
systemctl stop weir.service weir.socket
rm -r /etc/systemd/system/weir.socket.d
systemctl daemon-reload
systemctl reset-failed
cat >/etc/weir/conf.d/lines.toml <<'EOF'
[[tcp]]
listen = "systemd"
value = "/value"
ack = "line"
EOF
systemctl start weir-tcp.socket
lines() { # sends one, prints what comes back
    printf '{"device":"line","metric":"m","value":1}\n' | timeout 60 nc -UN /run/weir/tcp.sock
}
check 'a line to the path starts it and is acknowledged' sh -c "$(declare -f lines); lines | grep -x 'ok 1'"
check '… and it has arrived' eventually sh -c "curl -sf http://127.0.0.1:9377/api/series/line/m | jq -e '.count == 1'"
check '… the path is for root' sh -c 'stat -c "%U %a" /run/weir/tcp.sock | grep "root 660"'
published=$((published + 1))
systemctl stop weir-tcp.socket weir.service
rm /etc/weir/conf.d/lines.toml
systemctl start weir
check 'without the socket it opens its own port' eventually ready

# --- stop
stop() {
    local start=$(date +%s%N) took
    systemctl stop weir
    took=$((($(date +%s%N) - start) / 1000000))
    echo "$took ms, $(prop Result), exit $(prop ExecMainStatus)"
    [ $took -le 5000 ] && [ "$(prop Result)" = success ] && [ "$(prop ExecMainStatus)" = 0 ]
}
check 'stops within 5 s' stop
systemctl start weir
eventually ready

# --- upgrade
pid=$(prop MainPID)
instance=$(curl -s $page/api/status | jq -r .instance)
echo '# the operator was here' >>/etc/weir/weir.toml
check 'upgrade' dpkg -i /root/new.deb
check '… to the new version' dpkg-query -W -f '${Version}' weir
check '… restarted' eventually new_pid "$pid"
check '… ready' eventually ready
check '… the counts go on' eventually total_is $published
check '… same instance' is "$(curl -s $page/api/status | jq -r .instance)" "$instance"
check '… the edited configuration is kept' grep -x '# the operator was here' /etc/weir/weir.toml
check '… the other instances run too' systemctl is-active weir@a weir@b
publish 30
check '… readings in' eventually total_is $published

# --- removal
check 'remove' dpkg -r weir
check '… nothing runs' sh -c '! pgrep -x weir && ! systemctl is-active -q weir weir@a && echo none'
check '… state and configuration are kept' sh -c 'ls /var/lib/private/weir/WEIR /var/lib/private/weir-a/WEIR /etc/weir/weir.toml | wc -l'
check 'installed again' dpkg -i /root/new.deb
check '… it goes on' eventually total_is $published
check '… and so do the instances' eventually ready http://127.0.0.1:9379
check 'purge' dpkg -P weir
check '… no state of any instance' sh -c '! ls -d /var/lib/*weir* /var/lib/private/*weir* 2>/dev/null && echo none'
check '… no configuration but what the operator wrote' sh -c '[ ! -e /etc/weir/weir.toml ] && ls /etc/weir | tr "\n" " "'
check '… no unit, no enabled link' sh -c '! systemctl cat weir && ! find /etc/systemd /lib/systemd /run/systemd -name "weir*" ! -name "weir-tests*" | grep . && echo none'
find / -xdev -iname '*weir*' -not -path '/proc/*' -not -path '/sys/*' -not -path '/root/*' -not -path '/results/*' >/results/left
echo done >/results/end
