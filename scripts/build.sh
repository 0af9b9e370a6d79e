#!/bin/sh
# Builds everything, optimised, in build/. Arguments go to ninja: `scripts/build.sh kvasir_cli`.
set -eu
cd "$(dirname "$0")/.."
./scripts/install_debian.sh
[ -f build/build.ninja ] || cmake --preset release >/dev/null
ninja -C build "$@"
