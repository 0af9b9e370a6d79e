#!/bin/sh
# Installs the built library under a temporary prefix, builds examples/embed against it, runs it.
set -eu
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
run() {
  "$@" >"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
}
run cmake --install build --prefix "$work/prefix"
run cmake -S examples/embed -B "$work/build" -G Ninja -DCMAKE_PREFIX_PATH="$work/prefix"
run cmake --build "$work/build"
model=${KVASIR_MODEL:-../shared/data/stories260K/stories260K.gguf}
if [ -f "$model" ]; then
  run "$work/build/embed" "$model"
  grep -q '^Once upon a time' "$work/log"
  echo "examples/embed: builds against the installed library and runs"
else
  echo "examples/embed: builds against the installed library; not run, $model is absent"
fi
