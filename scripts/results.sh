#!/bin/sh
# Measures the recipes on the reference model and writes docs/results.md:
#   scripts/results.sh [MODEL [FILE]]
# LENGTHS, CASES_4096, CASES_16384 (cases of each task; 0 = no tasks) and THREADS may be set in the
# environment.
set -eu
cd "$(dirname "$0")/.."
model=${1:-models/kvasir-ref.gguf}
out=${2:-docs/results.md}
./scripts/build.sh kvasir_cli >&2
kvasir=./build/kvasir
work=build/results
mkdir -p "$work"

# One recipe a line; budgets are a quarter of the prompt, so that the recipes that keep tokens hold
# the same bytes as the trivial ones beside them.
recipes='
q8_0
fp8
int4h
q4_0
q4_0(had)
kivi:4
kivi:2
kvquant
turbo
streaming:25%
random:25%
knorm:25%
tova:25%
h2o:25%
snapkv:25%
pyramidkv:25%
adakv:25%
criticalkv:25%
chunkkv:25%
cake:25%
keydiff:25%
kvzip:25%
d2o:25%
tiered:25%
tiered(25%,kivi:2)
razor
duo
snapkv:25%+int4h
kvzip:25%+int4h
quest:64
lserve:1024
twolevel:1024
'

# The audit of all recipes at $1 tokens with $2 cases of each task; more flags follow.
audit() {
  length=$1 cases=$2
  shift 2
  $kvasir tasks make --task shared --turns 8 --bytes $((length * 9 / 2)) --seed 2147484000 \
    --count 1 --format chat >"$work/$length.json"
  while read -r recipe; do
    [ -z "$recipe" ] || set -- "$@" --kv "$recipe"
  done <<EOF
$recipes
EOF
  [ "$cases" -eq 0 ] ||
    set -- "$@" --tasks needle,multi_key --count "$cases" --task-length "$length"
  $kvasir audit -m "$model" -f "$work/$length.json" -t "${THREADS:-0}" -n 256 \
    --json "$work/audit-$length.json" --html "$work/audit-$length.html" "$@"
}

{
  cat <<EOF
# Results

Every recipe on the reference model ([models/README.md](../models/README.md)), made by
\`scripts/results.sh\` on $(date -u +%Y-%m-%d). What each figure means: [audit.md](audit.md). The text
is a document with eight questions and their answers at its end (\`kvasir tasks make --task shared\`,
a held-out seed); the last 256 tokens, which hold the questions, are fed one at a time. \`streaming:25%\` and \`random:25%\` are the trivial baselines of the recipes that keep a
quarter of the tokens, and of the formats near four bits.
EOF
  for length in ${LENGTHS:-4096 16384}; do
    eval "cases=\${CASES_$length:-3}"
    printf '\n## %s tokens\n\n```\n' "$length"
    audit "$length" "$cases" --no-baselines
    printf '```\n'
  done
} >"$work/results.md"
mv "$work/results.md" "$out"
