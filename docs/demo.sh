#!/usr/bin/env bash
# Starts a private root, a controller and a listener on this machine, and calls it: `make demo`.
set -euo pipefail
cd "$(dirname "$0")/.."

zt=${ZT:-.venv/bin/zt}
folder=$(mktemp -d "${TMPDIR:-/tmp}/zt-demo.XXXXXX")
pids=()
finish() {
    local code=$?
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
    rm -rf "$folder"
    exit "$code"
}
trap finish EXIT
trap 'exit 130' INT TERM

bold="" plain=""
if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then bold=$'\033[1m' plain=$'\033[0m'; fi
say() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }
show() { printf '$ %s\n' "$*"; }
fail() { printf 'demo: %s\n' "$*" >&2; exit 1; }
wait_for() {
    for _ in $(seq 300); do
        [ -s "$1" ] && return 0
        sleep 0.1
    done
    fail "$1 did not appear"
}

say "1. A root, a controller and one network, all on this machine"
show "zt lab up"
"$zt" lab up --state "$folder/lab" --ready-file "$folder/lab.ready" >"$folder/lab.out" 2>"$folder/lab.err" &
pids+=($!)
wait_for "$folder/lab.ready" || { cat "$folder/lab.err" >&2; exit 1; }
cat "$folder/lab.out"
show 'eval "$(zt lab up --env)"'
eval "$("$zt" lab up --state "$folder/lab" --env)"
printf 'ZT_NETWORK=%s\nZT_PLANET=%s\n' "$ZT_NETWORK" "$ZT_PLANET"

say "2. A node that serves HTTP inside the network"
show "zt listen 8080 --mode http &"
"$zt" --state "$folder/server" listen 8080 --mode http --ready-file "$folder/http.ready" \
    >"$folder/http.log" 2>"$folder/http.err" &
pids+=($!)
wait_for "$folder/http.ready"
cat "$folder/http.err"
address=$(sed -n 's/.*"addresses": *\["\([0-9.]*\)".*/\1/p' "$folder/http.ready")
[ -n "$address" ] || address=$(sed -n 's#^Listen: http://\([0-9.]*\):.*#\1#p' "$folder/http.err" | head -1)

say "3. Another node calls it"
show "zt call http://$address:8080/"
answer=$("$zt" --state "$folder/client" call "http://$address:8080/")
echo "$answer"
[ "$answer" = ok ] || fail "the answer should be ok"

say "4. A stream: what goes into stdin here comes out of stdout there"
show "zt listen 7777 --tcp > received &"
"$zt" --state "$folder/stream" listen 7777 --tcp --ready-file "$folder/tcp.ready" \
    >"$folder/received" 2>"$folder/tcp.err" &
listener=$!
pids+=("$listener")
wait_for "$folder/tcp.ready"
cat "$folder/tcp.err"
address=$(sed -n 's#^Listen: tcp://\([0-9.]*\):.*#\1#p' "$folder/tcp.err" | head -1)
head -c 1000000 /dev/urandom >"$folder/sent"
show "zt call $address 7777 < 1 MB of random bytes"
"$zt" --state "$folder/client" call "$address" 7777 <"$folder/sent"
wait "$listener"
cmp "$folder/sent" "$folder/received" || fail "the bytes differ"
sha256sum "$folder/sent" "$folder/received" | sed "s#$folder/##"

say "5. UDP: a ping, and its answer"
show "zt udp-listen 9000 &"
"$zt" --state "$folder/udp" udp-listen 9000 --ready-file "$folder/udp.ready" \
    >"$folder/udp.out" 2>"$folder/udp.err" &
pids+=($!)
wait_for "$folder/udp.ready"
cat "$folder/udp.err"
address=$(sed -n 's#^Listen: udp://\([0-9.]*\):.*#\1#p' "$folder/udp.err" | head -1)
show "zt udp-send --to $address:9000 --data ping --wait 2s"
answer=$("$zt" --state "$folder/client" udp-send --to "$address:9000" --data ping --wait 2s)
echo "$answer"
[ "$answer" = pong ] || fail "the answer should be pong"

say "6. What the client knows"
show "zt status"
"$zt" --state "$folder/client" status
say "All of it worked."
echo "Next: the ten examples of README.md, or: $zt --help"
