#!/bin/sh
# Compiles proto/ to Python with protoc and grpc_python_plugin (Debian: protobuf-compiler, protobuf-compiler-grpc).
#   client/python/generate.sh [FOLDER]      FOLDER: where the modules go; default: this folder
# The modules (llavamini/v1/chat_pb2.py, google/rpc/status_pb2.py, ...) are not committed; FOLDER goes on PYTHONPATH.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out=${1:-$here}
mkdir -p "$out"
out=$(cd "$out" && pwd)
cd "$here/../../proto"
find llavamini google -name '*.proto' | sort | xargs protoc --proto_path=. --python_out="$out" \
  --grpc_out="$out" --plugin=protoc-gen-grpc="$(command -v grpc_python_plugin)"
