#!/usr/bin/env bash
# cross/identity.sh TARGET…: recorded series through weir for this machine and for TARGET (under
# qemu-user) give the same bytes: every estimate with its whole state, every aggregate with its
# sketch, forecasts, alarms, smoothed levels, and the summary. Prints a hash for each.
set -euo pipefail
. "$(dirname "$0")/common.sh"
[ $# -gt 0 ] || fail "which target? There are: $(recipes)"
"$root/cross/packages.sh" run
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cross_env x86_64-unknown-linux-gnu
reference=${WEIR_REFERENCE:-$binary}
[ -x "$reference" ] || fail "$reference is not there: make cross TARGET=x86_64-unknown-linux-gnu"

series=$root/tests/data/series
# Long enough for every fit and season; the whole of them takes minutes under emulation.
head -n 1000 "$series/nyc_jfk_weather_2013_hourly.csv" >"$scratch/jfk.csv"
head -n 1500 "$series/nab_ambient_temperature_system_failure.csv" >"$scratch/office.csv"
empty=$scratch/empty.toml
: >"$empty"
cases=("$empty $scratch/office.csv" "$root/cross/identity.toml $scratch/jfk.csv")
for name in nab_occupancy_6005 nab_speed_7578 r_airpassengers r_co2 r_ldeaths r_nile r_ukgas water_flow_2022_hourly; do
    cases+=("$empty $series/$name.csv")
done

run() { # run NAME COMMAND…: results and summary of every case
    local name=$1 config file at=0
    shift
    for case in "${cases[@]}"; do
        read -r config file <<<"$case"
        "$@" --config "$config" replay "$file" --device d --every-reading --full --smooth --horizon 48 --no-progress \
            --output "$scratch/$name.$at.out" --summary "$scratch/$name.$at.summary" 2>"$scratch/log" ||
            { cat "$scratch/log" >&2 && fail "$name: replay of $file failed"; }
        at=$((at + 1))
    done
}
run x86_64 "$reference"
wrong=0
for target in "$@"; do
    cross_env "$target"
    start=$SECONDS
    # shellcheck disable=SC2086
    run "$target" $runner "$binary"
    for at in "${!cases[@]}"; do
        for kind in out summary; do
            file=$scratch/$target.$at.$kind verdict=same
            [ -s "$file" ] && cmp -s "$file" "$scratch/x86_64.$at.$kind" || { verdict=DIFFERS && wrong=1; }
            printf 'identity: %s %s %s %-7s %s\n' "$verdict" "$(sha256sum <"$file" | cut -c1-16)" "$target" $kind \
                "$(basename "${cases[$at]#* }") ($(stat -c %s "$file") bytes)"
        done
    done
    echo "identity: $target: ${#cases[@]} series in $((SECONDS - start)) s"
done
[ $wrong = 0 ] || fail "not the same bytes as on x86-64"
