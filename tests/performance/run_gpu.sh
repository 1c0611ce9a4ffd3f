#!/usr/bin/env bash
# The whole table of figures on a machine with a GPU: our programs over real gRPC with dummy weights, and the reference on the same GPU.
#   tests/performance/run_gpu.sh [--bin DIR | --launcher PREFIX] [--out DIR] [--model-config DIR] [--python PYTHON] [--sections LIST]
#   --bin DIR        llavamini-server, llavamini, llavamini-bench and llavamini-stages; default build/bin
#   --launcher TEXT  put before a program's name instead, such as "bundle/run"
#   --model-config   a folder with config.json and a tokenizer; default tests/performance/llava-mini-8b
#   --python         has torch and transformers (reference) and matplotlib (plots); default python3
#   --sections       of stages,serve,memory,reference; default all of them, in under ten minutes
# Each section has its own time limit, and what fails in one does not stop the others. Results are JSON files in DIR
# (default tests/performance/results); at the end the table is printed from whatever is there. The exit code counts failed sections.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
bin=$here/../../build/bin launcher='' out=$here/results model_config=$here/llava-mini-8b python=python3
sections=stages,serve,memory,reference
declare -A limit=([stages]=95 [serve]=220 [memory]=130 [reference]=105) # seconds
address=127.0.0.1:50077
new=(--image new) repeated=(--image repeated --distinct-images 16)
# 40 text tokens and one vision token, as the reference's measurements have. With --prompt-tokens the system text is short.
question=(--prompt-tokens 41 --max-tokens 64)

usage() {
  sed -n '2,12s/^# \{0,1\}//p' "$0" >&2
  exit 64
}

while [ $# -gt 0 ]; do
  case $1 in
    --bin | --launcher | --out | --python | --sections) declare "${1#--}=${2?}"; shift 2 ;;
    --model-config) model_config=${2?}; shift 2 ;;
    --run-section) only=${2?}; shift 2 ;; # used by this script itself
    *) usage ;;
  esac
done

# A program's name behind this is a command line.
before=() folder=$bin/
if [ -n "$launcher" ]; then
  read -ra before <<< "$launcher"
  folder=
fi

program() { # NAME ARGUMENT...
  "${before[@]}" "$folder$1" "${@:2}"
}

say() { printf '%(%H:%M:%S)T  %s\n' -1 "$*"; }

# ---------------------------------------------------------------- a server of our own

# start_server FLAG...: returns when it serves, and leaves the seconds that this took in $started.
start_server() {
  local begin=$EPOCHREALTIME
  (exec "${before[@]}" "${folder}llavamini-server" --model "$model_config" --load-format dummy --device cuda --dtype bfloat16 \
    --grpc-address $address --shutdown-timeout 5 --log-format json "$@" 2>> "$out/server-$only.log") &
  server=$!
  trap stop_server EXIT
  until program llavamini health --address $address --timeout 2 > /dev/null 2>&1; do
    if ! kill -0 "$server" 2> /dev/null; then
      tail -3 "$out/server-$only.log" >&2
      return 1
    fi
    sleep 0.3
  done
  started=$(awk "BEGIN {print $EPOCHREALTIME - $begin}")
  say "serving after $started s: $*"
}

stop_server() {
  kill "$server" 2> /dev/null
  wait "$server"
  local code=$?
  trap - EXIT
  return $code
}

bench() { # NAME FLAG...: writes NAME.json
  local name=$1
  shift
  say "bench $name: $*"
  program llavamini-bench --address $address --label "$name" --json "$out/$name.json" "$@" > "$out/$name.txt" 2>&1
  local code=$?
  tail -n 3 "$out/$name.txt"
  return $code
}

# ---------------------------------------------------------------- sections

section_stages() {
  local failed=0
  program llavamini-stages --model "$model_config" --profile --json "$out/stages.json" || failed=1
  program llavamini-stages --model "$model_config" --fp8 --no-parts --json "$out/stages-fp8.json" || failed=1
  return $failed
}

section_serve() {
  local failed=0 rates half
  start_server --max-running 768 --max-waiting 4096 --max-frames 1024 || return 1
  bench one-new --concurrency 1 "${new[@]}" "${question[@]}" --warmup 8 --duration 8 || failed=1
  bench one-repeated --concurrency 1 "${repeated[@]}" "${question[@]}" --warmup 16 --duration 6 || failed=1
  bench saturation-new --concurrency 8,32,128,256,512,768 "${new[@]}" "${question[@]}" --warmup 64 --duration 6 || failed=1
  bench saturation-repeated --concurrency 256,512 "${repeated[@]}" "${question[@]}" --warmup 64 --duration 8 || failed=1
  # Shares of what was just reached: the open loop's load, half of it among them.
  rates=$("$python" "$here/table.py" --rates-of "$out/saturation-new.json" 0.1 0.3 0.5 0.7 0.85 0.95) || failed=1
  half=$(cut -d, -f3 <<< "$rates")
  bench sweep-new --rate "${rates:-20,60,100,140,180,210}" "${new[@]}" "${question[@]}" --warmup 16 --duration 6 || failed=1
  bench half-mixed --rate "${half:-100}" --image new --repeat-share 0.5 "${question[@]}" --warmup 16 --duration 6 || failed=1
  bench video-64 --concurrency 8 --frames 64 --prompt "What happens?" --max-tokens 1 --warmup 8 --duration 8 || failed=1
  stop_server || failed=1
  return $failed
}

gpu_memory_used=(nvidia-smi --query-gpu=memory.used --format=csv,noheader,nounits -i 0) # MiB

# start_limited NAME GIB FLAG...: a server under this limit; what it takes of the GPU is sampled from before its start.
start_limited() {
  limited=$1 gib=$2 samples=$(mktemp) before_mib=$("${gpu_memory_used[@]}")
  "${gpu_memory_used[@]}" -lms 100 > "$samples" &
  sampler=$!
  # Contexts of 10,000 frames, each one token; little memory of the host, which takes seconds to be page-locked.
  start_server --gpu-memory-limit-gib "$gib" --max-running 64 --max-frames 10000 --image-cache-host-mib 256 "${@:3}" && return
  stop_sampling
  return 1
}

# The most that was taken until now: after each load, so that it is there if the next one takes too long.
note_memory() {
  printf '{"limit_gib": %s, "before_mib": %s, "most_mib": %s, "ready_seconds": %s}\n' "$gib" "$before_mib" \
    "$(sort -n "$samples" | tail -1)" "$started" > "$out/memory-$limited.json"
}

stop_sampling() {
  kill $sampler
  wait $sampler
  rm "$samples"
}

stop_limited() {
  stop_sampling
  stop_server
}

# 40 text tokens and 10,000 vision tokens.
bench_frames() {
  bench "frames-10000-$limited" --concurrency 1 --frames 10000 --image-size 112x112 --prompt-tokens 10040 --max-tokens 16 --warmup 0 \
    --requests 1
}

section_memory() {
  local failed=0
  rm -f "$out"/{memory,frames-10000,chats-64}-{large,small}.*
  if start_limited large 24 --max-context-tokens 16384; then
    bench_frames || failed=1
    note_memory
    bench chats-64-large --concurrency 64 "${new[@]}" "${question[@]}" --warmup 0 --requests 256 || failed=1
    note_memory
    stop_limited || failed=1
  else
    failed=1
  fi
  # Beside 17.2 GiB of weights there is room for one such context, and for images in batches of four.
  start_limited small 21.5 --max-context-tokens 10304 --max-images-per-batch 4 || return 1
  bench_frames || failed=1
  note_memory
  stop_limited || failed=1
  return $failed
}

section_reference() {
  "$python" "$here/reference.py" --model-config "$model_config" --budget-seconds 3 --json "$out/reference.json"
}

# ---------------------------------------------------------------- the run

mkdir -p "$out"
if [ -n "${only:-}" ]; then
  rm -f "$out/server-$only.log"
  "section_$only"
  exit
fi
"$python" "$here/machine.py" > "$out/machine.json"
failures=0
for section in ${sections//,/ }; do
  [ -n "${limit[$section]:-}" ] || usage
  say "section $section, at most ${limit[$section]} s"
  timeout --kill-after=10 "${limit[$section]}" "$0" --bin "$bin" --launcher "$launcher" --out "$out" --model-config "$model_config" \
    --python "$python" --run-section "$section"
  code=$?
  if [ $code -ne 0 ]; then
    say "section $section failed with $code"
    failures=$((failures + 1))
  fi
done
"$python" "$here/table.py" "$out" | tee "$out/table.md"
"$python" "$here/profile_table.py" "$out" > "$out/profile.md" || true
"$python" "$here/plot.py" "$out" || true
exit $failures
