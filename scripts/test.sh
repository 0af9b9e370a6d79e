#!/bin/sh
# Installs what is missing, builds everything and runs every test; arguments go to ctest. Under CI
# (CI set) it also builds a program against the installed library.
set -eu
cd "$(dirname "$0")/.."
./scripts/build.sh >&2
ctest --test-dir build -j2 --output-on-failure "$@"
[ -z "${CI:-}" ] || ./scripts/test_install.sh
