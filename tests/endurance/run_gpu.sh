#!/usr/bin/env bash
# What a server must hold out on a machine with a GPU: ten minutes of mixed calls and, beside them, compute-sanitizer, the demo
# checkpoint's accuracy, answers with --deterministic and the loading of a large checkpoint; before them, failures of the GPU.
#   tests/endurance/run_gpu.sh [--bin DIR | --launcher PREFIX] [--out DIR] [--python PYTHON] [--modules DIR] [--disk DIR]
#                              [--break-gpu FILE] [--minutes N] [--sections LIST]
#   --bin DIR        llavamini-server, model_tests and llavamini_break_gpu.so; default build/bin
#   --launcher TEXT  put before a program's name instead, such as "bundle/run"; then --break-gpu names that library
#   --out            where results go, JSON files and logs; default tests/endurance/results
#   --python         has torch, grpcio, protobuf, numpy, pillow, safetensors and tokenizers; default python3
#   --modules        the client's compiled modules (client/python/generate.sh DIR); made anew without it, which needs protoc
#   --disk           a folder on the disk whose speed counts, with 20 GB free; default a temporary one
#   --minutes        of the mixed calls; default 10
#   --sections       of failures,soak,loading,sanitize,accuracy,deterministic; default all of them, in about 13 minutes
# Each section has its own time limit, and what fails in one does not stop the others. The exit code counts failed sections.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
source=$(cd "$here/../.." && pwd)
bin=$source/build/bin launcher='' out=$here/results python=python3 modules='' break_gpu='' minutes=10 device=cuda
sections=failures,soak,loading,sanitize,accuracy,deterministic
declare -A limit=([failures]=180 [loading]=300 [sanitize]=600 [accuracy]=500 [deterministic]=120) # seconds

usage() {
  sed -n '2,15s/^# \{0,1\}//p' "$0" >&2
  exit 64
}

while [ $# -gt 0 ]; do
  case $1 in
    --bin | --launcher | --out | --python | --modules | --disk | --minutes | --sections | --device) declare "${1#--}=${2?}"; shift 2 ;;
    --break-gpu) break_gpu=${2?}; shift 2 ;;
    --run-section) only=${2?}; shift 2 ;; # used by this script itself
    *) usage ;;
  esac
done
limit[soak]=$(awk "BEGIN {print int(60 * $minutes) + 150}")
[ -n "$launcher" ] && folder= || folder=$bin/
server="${launcher:+$launcher }${folder}llavamini-server"
tests="${launcher:+$launcher }${folder}model_tests"
break_gpu=${break_gpu:-$bin/llavamini_break_gpu.so}
demo=(--model "$source/demo/checkpoint" --device "$device" --gpu-memory-limit-gib 8)

say() { printf '%(%H:%M:%S)T  %s\n' -1 "$*"; }

beside_server() { # NAME FLAG... -- WORD...: the words, in which {address} and {pid} are the server's, while one serves
  "$python" "$here/server_process.py" --server "$server" --log "$out/server-$1.log" "${@:2}"
}

# ---------------------------------------------------------------- sections

section_failures() {
  "$python" "$here/failures.py" --server "$server" --break-gpu "$break_gpu" --python "$python" --logs "$out" --json "$out/failures.json"
}

soak() { # NAME MINUTES FLAG... -- SERVER'S FLAG...
  local name=$1 minutes=$2 flags=()
  shift 2
  while [ "$1" != -- ]; do flags+=("$1"); shift; done
  beside_server "$name" "${demo[@]}" --image-cache-mib 64 --image-cache-host-mib 64 "${@:2}" -- \
    "$python" "$here/soak.py" --address '{address}' --server-pid '{pid}' --minutes "$minutes" --json "$out/$name.json" "${flags[@]}" \
    > "$out/$name.txt"
}

# Small caches, so that they are full soon.
section_soak() { soak soak "$minutes" --least-requests 2000 --differing-share 0.2 --; }

section_deterministic() {
  soak deterministic 1 --least-requests 200 --rss-growth-mib 1024 --gpu-growth-mib 1024 -- --deterministic
}

section_loading() {
  local config=$source/tests/performance/llava-mini-8b
  [ "$device" = cuda ] || config=$source/demo/checkpoint
  "$python" "$here/loading.py" --server "$server" --device "$device" --config "$config" --python "$python" --logs "$out" \
    --json "$out/loading.json" "$memory/memory" "$disk/disk"
}

section_sanitize() {
  "$python" "$here/sanitize.py" --server "$server" --tests "$tests" --device "$device" --logs "$out" --json "$out/sanitize.json"
}

ask_cases() { # NAME FLAG...: a server with these flags answers every case
  beside_server "accuracy-$1" "${@:2}" -- "$python" -m llavamini.ask_cases "$work/cases/cases.jsonl" "$out/answers-$1.jsonl" \
    --address '{address}'
}

# One process chooses all cases: sets of strings are walked in an order that changes with the seed of their hashes.
section_accuracy() {
  PYTHONHASHSEED=0 "$python" "$source/demo/training/export_cases.py" "$work/cases" --cases "${cases:-60}" || return 1
  local name answers=() asking=()
  ask_cases cpu-float32 --model "$source/demo/checkpoint" --device cpu & asking+=($!)
  for name in float32 bfloat16; do
    ask_cases "$device-$name" "${demo[@]}" --dtype $name & asking+=($!)
  done
  for name in "${asking[@]}"; do wait "$name" || return 1; done
  for name in cpu-float32 "$device-float32" "$device-bfloat16"; do answers+=("$name=$out/answers-$name.jsonl"); done
  "$python" "$source/demo/training/compare_answers.py" "$work/cases/cases.jsonl" "${answers[@]}" --about "$out/machine.json" \
    --json "$out/accuracy.json"
}

# ---------------------------------------------------------------- the run

if [ -n "${only:-}" ]; then
  "section_$only"
  exit
fi
for section in ${sections//,/ }; do [ -n "${limit[$section]:-}" ] || usage; done
mkdir -p "$out"
work=$(mktemp -d)
memory=$(mktemp -d /dev/shm/llavamini-XXXXXX)
disk=$(mktemp -d "${disk:-${TMPDIR:-/tmp}}/llavamini-XXXXXX")
trap 'rm -rf "$work" "$memory" "$disk"' EXIT
[ -n "$modules" ] || "$source/client/python/generate.sh" "${modules:=$work/modules}"
export work memory disk PYTHONPATH=$modules:$source/client/python
"$python" "$source/tests/performance/machine.py" > "$out/machine.json"

run_section() { # NAME, unless it was not asked for
  [[ ,$sections, == *,$1,* ]] || return 0
  local begin=$SECONDS code
  say "section $1, at most ${limit[$1]} s"
  timeout --kill-after=10 "${limit[$1]}" "$0" --bin "$bin" --launcher "$launcher" --out "$out" --python "$python" --device "$device" \
    --break-gpu "$break_gpu" --minutes "$minutes" --run-section "$1"
  code=$?
  say "section $1 ended with $code after $((SECONDS - begin)) s"
  return $code
}

# The GPU is only theirs: one of the failures takes all of its memory.
run_section failures
failures=$(($? != 0))
beside=()
run_section soak & beside+=($!)
run_section loading || failures=$((failures + 1))
run_section sanitize & beside+=($!)
{
  run_section accuracy
  ended=$?
  run_section deterministic && exit $ended
} & beside+=($!)
for each in "${beside[@]}"; do
  wait "$each" || failures=$((failures + 1))
done
exit $failures
