#!/usr/bin/env bash
# Our server against the reference on this machine's cores, with the demo checkpoint.
#   tests/performance/run_cpu.sh [--bin DIR] [--out DIR] [--python PYTHON] [--dtype float32|bfloat16] [--rounds N] [--threads N]
# PYTHON has torch, transformers, safetensors and tokenizers. Ends with a line per figure; DIR/cpu.json has them all.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
source=$(cd "$here/../.." && pwd)
bin=$source/build/bin out=$here/results python=python3 dtype=float32 rounds=7 threads=$(nproc)
while [ $# -gt 0 ]; do
  case $1 in
    --bin | --out | --python | --dtype | --rounds | --threads) declare "${1#--}=$2"; shift 2 ;;
    *) sed -n '2,4s/^# \{0,1\}//p' "$0" >&2; exit 64 ;;
  esac
done
mkdir -p "$out"
work=$(mktemp -d)
"$bin/llavamini-server" --model "$source/demo/checkpoint" --device cpu --dtype "$dtype" --threads "$threads" \
  --grpc-address 127.0.0.1:0 --port-file "$work/port" 2> "$work/server.log" &
server=$!
trap 'kill $server 2> /dev/null || true; wait $server || true; rm -rf "$work"' EXIT
for ((i = 0; i < 300; i++)); do
  kill -0 $server || { cat "$work/server.log" >&2; exit 69; }
  if [ -s "$work/port" ] && "$bin/llavamini" health --address "127.0.0.1:$(cat "$work/port")" > /dev/null 2>&1; then break; fi
  sleep 0.1
done
"$python" "$here/cpu_reference.py" --model "$source/demo/checkpoint" --address "127.0.0.1:$(cat "$work/port")" \
  --bench "$bin/llavamini-bench" --dtype "$dtype" --threads "$threads" --rounds "$rounds" --json "$out/cpu.json"
