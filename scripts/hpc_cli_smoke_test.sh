#!/usr/bin/env bash
# Doctor, one prediction and a small batch on the CPU, with whatever artifacts the environment names.
# Values are checked, not only statuses. Usage: scripts/hpc_cli_smoke_test.sh [command, default: periogt]
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
if [[ ${1:-} == -* ]]; then
  sed -n '2,3s/^# //p' "${BASH_SOURCE[0]}" >&2
  exit 2
fi
if (($# > 0)); then
  periogt=("$@")
elif [[ -x $root/.venv/bin/periogt ]]; then
  periogt=("$root/.venv/bin/periogt")
else
  periogt=(periogt)
fi
export PERIOGT_DEVICE=cpu DGLBACKEND=pytorch
unset RAY_ADDRESS

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() {
  echo "FAIL: $1" >&2
  if [[ -s $work/log ]]; then tail -n 20 "$work/log" >&2; fi
  exit 1
}
field() { sed -E "s/.*\"$1\": \"?([^\",}]*).*/\1/" <<<"$2"; }

status=0
"${periogt[@]}" doctor --table >"$work/doctor" 2>"$work/log" || status=$?
((status < 2)) || { cat "$work/doctor" >&2; fail "doctor found a reason why nothing can work"; }
echo "ok: doctor"

listed=$("${periogt[@]}" properties 2>"$work/log") || fail "properties"
# The first one that is predicted of a repeat unit.
property=$(printf '%s\n' "${listed//'{"id"'/$'\n{"id"'}" | sed -nE '/"input": "homopolymer"/{s/^\{"id": "([^"]*)".*/\1/p;q}')
[[ -n $property ]] || fail "no property of repeat units is served"
echo "ok: properties, of which the first of repeat units is $property"

answer=$("${periogt[@]}" predict --smiles '*CC*' --property "$property" 2>"$work/log") || fail "predict"
value=$(field value "$answer")
[[ $value =~ ^-?[0-9]+(\.[0-9]+)?(e-?[0-9]+)?$ ]] || fail "predict answered $answer"
echo "ok: predict, $property of *CC* is $value"

status=0
"${periogt[@]}" predict --smiles CC --property "$property" >"$work/out" 2>"$work/log" || status=$?
((status == 2)) || fail "a SMILES without connection points ended with $status, expected 2"
echo "ok: a SMILES without connection points is refused"

printf 'id,smiles\r\n007,*CC*\r\nbad,CC\r\n,[*]CC[*]\r\n' >"$work/input.csv"
status=0
"${periogt[@]}" batch --input "$work/input.csv" --property "$property" --output "$work/output.csv" \
  >"$work/summary" 2>"$work/log" || status=$?
((status == 1)) || fail "a batch with one bad row ended with $status, expected 1"
[[ $(wc -l <"$work/output.csv") -eq 4 ]] || fail "expected a header and 3 rows, found: $(cat "$work/output.csv")"
mapfile -t rows <"$work/output.csv"
[[ ${rows[1]} == "007,*CC*,$property,$value,"*,true,* ]] || fail "batch and predict disagree: ${rows[1]}"
[[ ${rows[2]} == "bad,CC,$property,,,false,validation_error,"* ]] || fail "unexpected row: ${rows[2]}"
[[ ${rows[3]} == ",[*]CC[*],$property,$value,"*,true,* ]] || fail "unexpected row: ${rows[3]}"
[[ $(field n_failed "$(<"$work/summary")") == 1 ]] || fail "unexpected summary: $(<"$work/summary")"
[[ ! -e $work/output.csv.parts ]] || fail "parts were left behind"
echo "ok: batch, 3 rows of which 1 is an error as expected"
