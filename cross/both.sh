#!/usr/bin/env bash
# cross/both.sh ARGUMENTS…: runs weir for this machine ($WEIR_REFERENCE) and weir for another one
# ($WEIR_OTHER, a command) with the same arguments; fails unless both write the same bytes to standard
# output. Passes on what the other one wrote, so that tests can drive it in place of one program.
# A line for each run goes to $WEIR_IDENTITY_LOG.
set -u
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
input=/dev/null
case " $* " in *' - '*) input=$scratch/in && cat >"$input" ;; esac

$WEIR_REFERENCE "$@" <"$input" >"$scratch/reference" 2>/dev/null
reference_code=$?
# Without quotes: a program and its arguments.
# shellcheck disable=SC2086
$WEIR_OTHER "$@" <"$input" >"$scratch/other"
code=$?
sum=$(sha256sum <"$scratch/other" | cut -c1-16)
if [ $code != $reference_code ] || ! cmp -s "$scratch/reference" "$scratch/other"; then
    echo "DIFFERS $sum exit $code, not $(sha256sum <"$scratch/reference" | cut -c1-16) exit $reference_code: weir $*" |
        tee -a "$WEIR_IDENTITY_LOG" >&2
    exit 99
fi
echo "same    $sum $(stat -c %s "$scratch/other") bytes: weir $*" >>"$WEIR_IDENTITY_LOG"
cat "$scratch/other"
exit $code
