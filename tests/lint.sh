#!/usr/bin/env bash
# What is checked without running: formatting, clang's warnings with -Wthread-safety, and with --tidy clang-tidy (slow).
#   tests/lint.sh [--tidy [FILE ...]]     needs clang, clang-format and clang-tidy, and a configured build folder (LLAVAMINI_BUILD)
set -euo pipefail
cd "$(dirname "$0")/.."
build=${LLAVAMINI_BUILD:-build}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# Each source with its own flags, for clang instead of the build's compiler and without its precompiled headers.
python3 - "$build/compile_commands.json" "$scratch" << 'PYTHON'
import json, os, shlex, sys
root, entries = os.getcwd(), []
for entry in json.load(open(sys.argv[1])):
    file = os.path.relpath(entry["file"], root)
    if not file.endswith(".cc") or file.startswith(("..", "build")):
        continue
    words = shlex.split(entry["command"])
    flags = [w for w in words if w.startswith(("-I", "-D", "-std", "-W")) and w != "-Winvalid-pch"]
    system = [w for i, f in enumerate(words) if f == "-isystem" for w in (f, words[i + 1])]
    command = ["clang++", "-fsyntax-only", "-Wthread-safety", *flags, *system, entry["file"]]
    entries.append({"directory": root, "file": entry["file"], "arguments": command})
json.dump(entries, open(sys.argv[2] + "/compile_commands.json", "w"))
open(sys.argv[2] + "/commands", "w").write("".join(shlex.quote(shlex.join(e["arguments"])) + "\n" for e in entries))
PYTHON

if [ "${1:-}" = --tidy ]; then
  shift
  if [ $# -eq 0 ]; then mapfile -t files < <(git ls-files '*.cc' ':!tests'); else files=("$@"); fi
  printf '%s\n' "${files[@]}" | xargs -P "$(nproc)" -n 1 clang-tidy --quiet -p "$scratch"
  echo "clang-tidy: ${#files[@]} files"
  exit 0
fi
mapfile -t ours < <(git ls-files '*.h' '*.cc')
clang-format --dry-run --Werror "${ours[@]}"
echo "format: ${#ours[@]} files"
xargs -P "$(nproc)" -I{} bash -c '{}' < "$scratch/commands"
echo "clang -Wthread-safety: no warning"
