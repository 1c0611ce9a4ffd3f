#!/usr/bin/env bash
# The test command: installs, builds and runs every test. tests/run.sh [CTEST ARGUMENT ...]
# LLAVAMINI_LLAMA3_RANKS: LLaMA-3's tokenizer.model, for the tests against its real vocabulary (skipped without it).
set -euo pipefail
cd "$(dirname "$0")/.."
build=$(deploy/build.sh)
if [ -n "${LLAVAMINI_LLAMA3_RANKS:-}" ]; then
  export LLAVAMINI_LLAMA3_TOKENIZER=$PWD/$build/llama3-tokenizer.json
  python3 tests/golden/tokenizer_llama3.py "$LLAVAMINI_LLAMA3_RANKS" "$LLAVAMINI_LLAMA3_TOKENIZER"
else
  echo "LLAVAMINI_LLAMA3_RANKS is not set: the tests of LLaMA-3's real vocabulary are skipped"
fi
ctest --test-dir "$build" --output-on-failure "$@"
