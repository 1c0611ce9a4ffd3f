#!/usr/bin/env bash
# Installs what building and running need on Debian 12 or Ubuntu 24.04, and prints the folder of LibTorch.
#   deploy/install.sh [--cuda | --cpu] [--no-packages]
# --cuda, --cpu: which LibTorch; by default CUDA where nvcc is found, else CPU. Cheap when all is there already.
# LibTorch comes from the Python package torch and lies in a per-user cache: ${LLAVAMINI_CACHE:-~/.cache/llavamini}.
set -euo pipefail
cd "$(dirname "$0")/.."

torch_version=2.11.0
flavour=cpu packages=yes
if command -v nvcc > /dev/null || [ -x /usr/local/cuda/bin/nvcc ]; then flavour=cuda; fi
for argument in "$@"; do
  case $argument in
    --cuda) flavour=cuda ;;
    --cpu) flavour=cpu ;;
    --no-packages) packages=no ;;
    *) echo "install.sh: unknown argument $argument" >&2; exit 64 ;;
  esac
done

# Everything that CMake, the build, the server, the command line and the tests use (deploy/packages.txt says what for).
install_packages() {
  local missing=()
  while read -r package _; do
    dpkg-query -W -f='${Status}' "$package" 2> /dev/null | grep -q 'ok installed' || missing+=("$package")
  done < <(grep -vE '^(#|$)' deploy/packages.txt)
  [ ${#missing[@]} -eq 0 ] && return
  local root=()
  [ "$(id -u)" -eq 0 ] || root=(sudo)
  echo "installing ${#missing[@]} packages: ${missing[*]}" >&2
  "${root[@]}" apt-get update -qq >&2
  DEBIAN_FRONTEND=noninteractive "${root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" > /dev/null
}

# Fetched beside its place and moved there whole, so that a broken download leaves nothing behind.
install_torch() {
  local target=$1
  [ -e "$target/torch/lib/libtorch_cpu.so" ] && return
  echo "installing LibTorch $torch_version ($flavour) into $target" >&2
  local building=$target.part.$$
  rm -rf "$building" && mkdir -p "$building"
  local pip=(python3 -m pip install --quiet --no-compile --disable-pip-version-check --root-user-action=ignore --target "$building")
  if [ "$flavour" = cuda ]; then
    "${pip[@]}" "torch==$torch_version" >&2
  else  # libtorch_cpu and libc10 of the same package, with the two small CUDA libraries that they name
    "${pip[@]}" --no-deps "torch==$torch_version" nvidia-cuda-cupti==13.0.85 nvidia-cuda-runtime==13.0.96 >&2
  fi
  rm -rf "$target" && mv "$building" "$target"
}

[ "$packages" = no ] || install_packages
cache=${LLAVAMINI_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/llavamini}
mkdir -p "$cache"
# A CUDA build of LibTorch serves the CPU as well.
for present in "$cache/torch-$torch_version-cuda" "$cache/torch-$torch_version-$flavour"; do
  if [ -e "$present/torch/lib/libtorch_cpu.so" ]; then echo "$present/torch"; exit 0; fi
done
install_torch "$cache/torch-$torch_version-$flavour"
echo "$cache/torch-$torch_version-$flavour/torch"
