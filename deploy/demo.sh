#!/usr/bin/env bash
# The demo: builds, serves the small checkpoint that ships with the project, asks it about the sample pictures and videos, prints
# the streamed answers, shows how to go on, and serves until Ctrl-C.   deploy/demo.sh [--once]
# --once: ends after the samples. LLAVAMINI_GRPC_ADDRESS: where to serve (default 127.0.0.1:50051).
set -euo pipefail
cd "$(dirname "$0")/.."
once=no
case ${1:-} in
  '') ;;
  --once) once=yes ;;
  *) sed -n '2,4s/^# //p' "$0" >&2; exit 64 ;;
esac

build=$(deploy/build.sh llavamini-server llavamini)
bin=$build/bin
address=${LLAVAMINI_GRPC_ADDRESS:-127.0.0.1:50051}
scratch=$(mktemp -d)
server=
finish() {
  if [ -n "$server" ]; then kill -TERM "$server" 2> /dev/null || true; wait "$server" 2> /dev/null || true; fi
  rm -rf "$scratch"
}
trap finish EXIT
trap 'exit 0' INT TERM

[ "$once" = no ] || address=127.0.0.1:0  # nobody connects but this script
"$bin/llavamini-server" --model demo/checkpoint --model-name demo --grpc-address "$address" \
  --port-file "$scratch/port" --log-level warning &
server=$!
export LLAVAMINI_ADDRESS=
for _ in $(seq 600); do
  kill -0 "$server" 2> /dev/null || { wait "$server" || exit $?; exit 1; }
  if [ -s "$scratch/port" ]; then
    LLAVAMINI_ADDRESS=${address%:*}:$(cat "$scratch/port")
    "$bin/llavamini" health > /dev/null 2>&1 && break
  fi
  sleep 0.1
done
"$bin/llavamini" health > /dev/null || { echo "demo.sh: the server did not become ready" >&2; exit 1; }

# One line per question about one sample: kind, file, detail, question, expected answer.
questions() {
  python3 - << 'PYTHON'
import json
for row in json.load(open("demo/samples/questions.json")):
    if not row["history"]:
        kind = "video" if row["file"].endswith(".mp4") else "image"
        detail = "high" if row["resolution_ratio"] == 2 else "low"
        print("\x1f".join([kind, row["file"], detail, row["question"], row["expected"]]))
PYTHON
}
right=0 asked=0
while IFS=$'\x1f' read -r -u 3 kind file detail question expected; do
  printf '\n%s  %s\n  ' "demo/samples/$file" "$question"
  "$bin/llavamini" chat "--$kind" "demo/samples/$file" --detail "$detail" "$question" < /dev/null | tee "$scratch/answer"
  asked=$((asked + 1))
  if [ "$(tr -d '\n' < "$scratch/answer")" = "$expected" ]; then right=$((right + 1)); else echo "  (expected: $expected)"; fi
done 3< <(questions)
printf '\n%s of %s answers are the expected ones.\n' "$right" "$asked"
[ "$once" = no ] || exit 0

cat << TEXT

The server goes on at $LLAVAMINI_ADDRESS until Ctrl-C. In another terminal:
  a question        $bin/llavamini --address $LLAVAMINI_ADDRESS chat --image demo/samples/shapes-1.png "What is in the picture?"
  a conversation    $bin/llavamini --address $LLAVAMINI_ADDRESS chat --image demo/samples/shapes-1.png
  from Python       see client/python/README.md
  with grpcurl      grpcurl -plaintext -d '{"messages": [{"role": "ROLE_USER", "content": [{"text": "Hello!"}]}]}' \\
                      $LLAVAMINI_ADDRESS llavamini.v1.ChatService/StreamChat
TEXT
wait "$server"
