#!/bin/sh
# Installs what the build and the tests need on Debian 12, and only what is missing: with nothing
# missing it says nothing, touches no network and ends at once.
set -eu

packages="g++ make cmake ninja-build pkg-config libfmt-dev nlohmann-json3-dev libpcre2-dev
  libutf8proc-dev libgtest-dev libgmock-dev librapidcheck-dev libbenchmark-dev"

if ! command -v dpkg-query >/dev/null 2>&1 || ! command -v apt-get >/dev/null 2>&1; then
  echo "install_debian.sh: needs dpkg and apt-get; elsewhere install what answers to: $packages" >&2
  exit 1
fi

missing=""
for package in $packages; do
  if ! dpkg-query -W -f '${db:Status-Status} ' "$package" 2>/dev/null | grep -q '^installed '; then
    missing="$missing $package"
  fi
done
[ -z "$missing" ] && exit 0

sudo=""
if [ "$(id -u)" -ne 0 ]; then
  if ! command -v sudo >/dev/null 2>&1; then
    echo "install_debian.sh: not root and no sudo; as root run: apt-get install$missing" >&2
    exit 1
  fi
  sudo="sudo"
fi

echo "installing:$missing" >&2
log=$(mktemp)
trap 'rm -f "$log"' EXIT
run() {
  if ! $sudo env DEBIAN_FRONTEND=noninteractive "$@" >"$log" 2>&1; then
    cat "$log" >&2
    echo "install_debian.sh: failed: $*" >&2
    exit 1
  fi
}
run apt-get update -q
# shellcheck disable=SC2086 # one word a package
run apt-get install -q -y --no-install-recommends $missing
