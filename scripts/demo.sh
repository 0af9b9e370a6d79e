#!/bin/sh
# Builds the program and lets a model write a story: scripts/demo.sh [MODEL] [more run flags].
set -eu
cd "$(dirname "$0")/.."
model=${1:-../shared/data/stories260K/stories260K.gguf}
[ $# -eq 0 ] || shift
if [ ! -e "$model" ]; then
  echo "demo.sh: no model at $model; give the path of a GGUF file: ./scripts/demo.sh MODEL" >&2
  exit 1
fi
./scripts/build.sh kvasir_cli >&2
exec ./build/kvasir run -m "$model" -p "Once upon a time" --display-prompt -n 128 --temp 0 "$@"
