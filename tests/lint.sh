#!/usr/bin/env bash
# What is checked without running: formatting, clang's warnings with -Wthread-safety, and with --tidy clang-tidy (slow).
#   tests/lint.sh [--tidy]     needs clang, clang-format and clang-tidy, and a configured build folder (LLAVAMINI_BUILD)
set -euo pipefail
cd "$(dirname "$0")/.."
build=${LLAVAMINI_BUILD:-build}
mapfile -t ours < <(git ls-files '*.h' '*.cc')
clang-format --dry-run --Werror "${ours[@]}"
echo "format: ${#ours[@]} files"

# Each source with its own flags, for clang instead of the build's compiler.
python3 - "$build/compile_commands.json" << 'PYTHON' | xargs -P "$(nproc)" -I{} bash -c '{}'
import json, os, shlex, sys
root = os.getcwd()
for entry in json.load(open(sys.argv[1])):
    file = os.path.relpath(entry["file"], root)
    if not file.endswith(".cc") or file.startswith(("..", "build")):
        continue
    flags = [f for f in shlex.split(entry["command"]) if f.startswith(("-I", "-D", "-std", "-W"))]
    words = shlex.split(entry["command"])
    system = [w for i, f in enumerate(words) if f == "-isystem" for w in (f, words[i + 1])]
    command = ["clang++", "-fsyntax-only", "-Wthread-safety", *flags, *system, entry["file"]]
    print(shlex.quote(shlex.join(command)))
PYTHON
echo "clang -Wthread-safety: no warning"

[ "${1:-}" = --tidy ] || exit 0
git ls-files '*.cc' ':!tests' | xargs -P "$(nproc)" -n 4 clang-tidy --quiet -p "$build"
