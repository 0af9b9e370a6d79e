#!/bin/sh
# Installs the built library under a temporary prefix, builds examples/embed against it, runs it.
set -eu
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cmake --install build --prefix "$work/prefix" >/dev/null
cmake -S examples/embed -B "$work/build" -G Ninja -DCMAKE_BUILD_TYPE=Release \
  -DCMAKE_PREFIX_PATH="$work/prefix" >/dev/null
cmake --build "$work/build" >/dev/null
model=${KVASIR_MODEL:-../shared/data/stories260K/stories260K.gguf}
if [ -f "$model" ]; then
  "$work/build/embed" "$model" >/dev/null
  echo "examples/embed: builds against the installed library and runs"
else
  echo "examples/embed: builds against the installed library; not run, $model is absent"
fi
