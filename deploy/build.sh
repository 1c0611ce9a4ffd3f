#!/usr/bin/env bash
# Installs, configures and builds: deploy/build.sh [TARGET ...]. Prints the build folder (LLAVAMINI_BUILD, default build).
# LLAVAMINI_CUDA=AUTO|ON|OFF chooses the CUDA kernels; further CMake options go into LLAVAMINI_CMAKE.
set -euo pipefail
cd "$(dirname "$0")/.."
build=${LLAVAMINI_BUILD:-build}
flavour=()
case ${LLAVAMINI_CUDA:-AUTO} in
  ON) flavour=(--cuda) ;;
  OFF) flavour=(--cpu) ;;
esac
torch=$(deploy/install.sh "${flavour[@]}")
# shellcheck disable=SC2086
cmake -G Ninja -S . -B "$build" -DLLAVAMINI_TORCH="$torch" -DLLAVAMINI_CUDA="${LLAVAMINI_CUDA:-AUTO}" ${LLAVAMINI_CMAKE:-} >&2
cmake --build "$build" --target "${@:-all}" >&2
echo "$build"
