#!/usr/bin/env bash
# Asks a running service everything once and checks what it answers; needs curl alone.
# Usage: scripts/smoke_test.sh URL [API_KEY]      (the key may also be in PERIOGT_API_KEY)
set -euo pipefail

if (($# < 1)) || [[ $1 == -* ]]; then
  echo "usage: ${0##*/} URL [API_KEY]   for example ${0##*/} http://127.0.0.1:8000" >&2
  exit 2
fi
url=${1%/}
key=${2:-${PERIOGT_API_KEY:-}}
styrene='*CC(*)c1ccccc1'
n_failed=0 status='' body='' head=''

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# The key goes through a file, so that it is not in the list of processes.
umask 077
: >"$work/key"
if [[ -n $key ]]; then printf 'header = "X-Api-Key: %s"\n' "$key" >"$work/key"; fi

# ask METHOD PATH [JSON] [curl options]: sets status, head and body.
ask() {
  local method=$1 path=$2 json=${3:-}
  shift $(($# < 3 ? $# : 3))
  local options=(--silent --show-error --max-time 150 --request "$method" --output "$work/body" --dump-header "$work/head")
  if [[ -n $json ]]; then options+=(--header 'Content-Type: application/json' --data-binary "$json"); fi
  : >"$work/body"
  status=$(curl "${options[@]}" --write-out '%{http_code}' "$@" "$url$path") || status=000
  body=$(tr -d '\n' <"$work/body")
  head=$(tr -d '\r' <"$work/head")
}
with_key() { ask "$1" "$2" "${3:-}" --config "$work/key" "${@:4}"; }

pass() { echo "ok    $1"; }
fail() {
  echo "FAIL  $1 (status $status): ${body:0:300}"
  n_failed=$((n_failed + 1))
}
# expect NAME STATUS REGEX...: the answer has the status and matches every expression.
expect() {
  local name=$1 wanted=$2 pattern
  shift 2
  if [[ $status != "$wanted" ]]; then fail "$name: expected status $wanted"; return; fi
  for pattern in "$@"; do
    if [[ ! $body =~ $pattern ]]; then fail "$name: expected $pattern"; return; fi
  done
  pass "$name"
}
# field NAME: the first value of a JSON field in the body.
field() { sed -E "s/.*\"$1\": ?\"?([^\",}]*).*/\1/" <<<"$body"; }

number='-?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?'

give_up() {
  fail 'health'
  echo "$1" >&2
  exit 1
}

with_key GET /v1/health
case $status in
000) give_up "Nothing answers at $url: is the service running, and the tunnel to it open?" ;;
401) give_up "The service at $url refuses the key: give its own as second argument or in PERIOGT_API_KEY." ;;
esac
expect 'health' 200 '"status": ?"(ok|initializing)"' '"model_loaded": ?(true|false)' '"checkpoints_present"' '"gpu_available"'
for ((i = 0; i < 120; i++)); do
  if [[ $status != 200 || $body =~ \"model_loaded\":\ ?true ]]; then break; fi
  sleep 1
  with_key GET /v1/health
done
expect 'model loaded' 200 '"status": ?"ok"' '"model_loaded": ?true'

with_key GET /v1/properties
expect 'properties' 200 '"properties": ?\[\{"id": ?"[^"]+", ?"label": ?"[^"]+", ?"units": ?"[^"]*"'
# The first one that takes a repeat unit; others take copolymers or conditions.
property=$(sed -E 's/\}, ?\{/}\n{/g' <<<"$body" | sed -nE '/"input": ?"homopolymer"/{s/.*"id": ?"([^"]+)".*/\1/p;q}')

request="{\"smiles\": \"$styrene\", \"property\": \"$property\"}"
with_key POST /v1/predict "$request" --header 'X-Request-ID: smoke-1'
expect "predict $property" 200 "\"value\": ?$number" '"units": ?"' '"embedding": ?null' '"name": ?"PerioGT"' \
  '"checkpoint": ?"[^/"][^"]*"' "\"property\": ?\"$property\"" '"request_id": ?"smoke-1"'
if grep -qix 'x-request-id: smoke-1' <<<"$head"; then pass 'request id in the header'; else fail 'request id in the header'; fi
value=$(sed -E "s/.*\"value\": ?($number).*/\1/" <<<"$body")

with_key POST /v1/predict "{\"smiles\": \"C(*)C(*)c1ccccc1\", \"property\": \"$property\"}"
expect 'another spelling, the same value' 200 "\"value\": ?${value//./\\.}[,}]"

with_key POST /v1/predict "{\"smiles\": \"*CC*\", \"property\": \"$property\", \"return_embedding\": true}"
expect 'predict with embedding' 200 "\"embedding\": ?\[$number,"
if [[ $(sed -E "s/.*\"value\": ?($number).*/\1/" <<<"$body") != "$value" ]]; then
  pass 'another polymer, another value'
else
  fail 'another polymer, another value'
fi

with_key POST /v1/embeddings "{\"smiles\": \"$styrene\"}"
expect 'embeddings' 200 "\"embedding\": ?\[$number," '"dim": ?[1-9]'
length=$(sed -E 's/.*"embedding": ?\[([^]]*)\].*/\1/' <<<"$body" | tr ',' '\n' | wc -l)
if [[ $(field dim) == "$length" ]]; then pass "embedding has $length numbers"; else fail "embedding has $length numbers"; fi

with_key POST /v1/explain "{\"smiles\": \"*CC*\", \"property\": \"$property\"}"
expect 'explain' 200 "\"baseline\": ?$number" '"method": ?"exact"' '"bonds": ?\[\{"value"' '"whole_molecule"'

with_key POST /v1/predict "{\"smiles\": \"*CC\", \"property\": \"$property\"}"
expect 'bad SMILES' 422 '"code": ?"validation_error"' 'connection point' '"request_id"'
with_key POST /v1/predict '{"smiles": "*CC*", "property": "no_such_property"}'
expect 'unknown property' 422 '"code": ?"unsupported_property"' "\"$property\""
with_key POST /v1/predict "{\"smiles\": \"*CC*\", \"property\": \"$property\", \"misspelt\": 1}"
expect 'unknown field' 422 '"code": ?"validation_error"' 'misspelt'
with_key POST /v1/predict '{'
expect 'no JSON' 422 '"code": ?"validation_error"'

with_key POST /v1/predict/batch "{\"items\": [$request, {\"smiles\": \"*CC\", \"property\": \"$property\"}, $request]}"
expect 'batch with one bad row' 200 \
  "^\{\"results\": ?\[\{\"smiles\".*\"value\": ?${value//./\\.}[,}].*\"code\": ?\"validation_error\".*\"value\": ?${value//./\\.}[,}]"
with_key POST /v1/predict/batch '{"items": []}'
expect 'empty batch' 422 '"code": ?"validation_error"'

with_key GET /openapi.json
expect 'OpenAPI document' 200 '"/v1/predict/batch"'
with_key GET /v1/docs
expect 'documentation' 200 'openapi\.json'
with_key GET /v1/nothing
expect 'unknown path' 404 '"error"'

if [[ -n $key ]]; then
  ask GET /v1/health
  expect 'no key' 401 '"code": ?"unauthorized"'
  ask GET /v1/health '' --header 'X-Api-Key: wrong'
  expect 'wrong key' 401 '"code": ?"unauthorized"'
  ask POST /v1/predict "$request" --header "X-Api-Key: ${key}x"
  expect 'almost the key' 401 '"code": ?"unauthorized"'
else
  ask GET /v1/health '' --header 'X-Api-Key: wrong'
  expect 'a key where none is needed' 200 '"status"'
fi

if ((n_failed > 0)); then
  echo "$n_failed failed"
  exit 1
fi
echo "all passed"
