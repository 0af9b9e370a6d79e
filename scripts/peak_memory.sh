#!/bin/sh
# Reads a long prompt under a --mem that the exact cache would pass, once for each of several kinds
# of recipes, and prints the largest resident size of each run as the system counted it:
#
#   scripts/peak_memory.sh [FOLDER]     results in FOLDER/peak_memory.{txt,json}, default build/peak
#
# Set in the environment: SHAPE, VOCAB and TYPE of the random model that is made (or MODEL, a file),
# TOKENS of the prompt, MEM, THREADS, and RECIPES, separated by '|'.
set -eu
cd "$(dirname "$0")/.."
kvasir=${KVASIR:-build/kvasir}
out=${1:-build/peak}
shape=${SHAPE:-llama-3.2-1b} vocab=${VOCAB:-32000} type=${TYPE:-q8_0}
tokens=${TOKENS:-32768} mem=${MEM:-1500M} threads=${THREADS:-0}
recipes=${RECIPES:-"keydiff:1024\
|snapkv:1024 schedule=chunks\
|score=cake shape=avgpool(5) budget=cake:1024 schedule=chunks\
|score=window(32) budget=1024 disposition=d2o schedule=chunks\
|adakv:1024 schedule=chunks codec=q8_0\
|streaming:2048+int4h\
|score=keydiff budget=1024 protect=sinks(4),recent(32) disposition=demote(kivi:2) schedule=chunks\
|exact overflow=stream\
|kivi:2|int4h|quest:64+int4h"}

mkdir -p "$out"
model=${MODEL:-$out/$shape-$type.gguf}
[ -e "$model" ] || "$kvasir" synth --shape "$shape" --vocab "$vocab" --type "$type" -o "$model"

# Characters that the synthetic vocabulary does not merge: one token each.
prompt=$out/prompt.txt
awk -v n="$tokens" 'BEGIN {
  srand(7)
  for (i = 0; i < n; ++i) printf "%c", 65 + int(26 * rand())
}' >"$prompt"

# Text as a JSON string.
quote() { printf '%s' "$1" | sed 's/["\\]/\\&/g; s/^/"/; s/$/"/'; }

# The bytes of "peak: NAME 1.5 MiB (1572864)" in the file of a run.
peak_of() { sed -n "s/^peak: .*$1 [^(]*(\([0-9]*\)).*/\1/p" "$2"; }

table=$out/peak_memory.txt json=$out/peak_memory.json err=$out/stderr.txt
{
  echo "$(basename "$model"), $tokens tokens, --mem $mem, $(date -u +%Y-%m-%d)"
  printf '%-10s %-10s %-10s %-9s %s\n' 'peak MiB' accounted 'kv MiB' seconds recipe
} | tee "$table"

run() {
  "$kvasir" run -m "$model" -f "$prompt" -n 4 -c $((tokens + 64)) -t "$threads" --temp 0 \
    --mem "$mem" --kv "$1" >/dev/null 2>"$err"
}

if run exact; then
  echo "peak_memory.sh: the exact cache fits --mem $mem: give a smaller one" >&2
  exit 1
fi
refusal=$(grep -v '^$' "$err" | tail -n 1)
echo "exact: $refusal" | tee -a "$table"
printf '{"model": %s, "tokens": %s, "mem": %s, "exact": %s, "runs": [' \
  "$(quote "$(basename "$model")")" "$tokens" "$(quote "$mem")" "$(quote "$refusal")" >"$json"

failed=0 comma=
IFS='|'
for recipe in $recipes; do
  unset IFS
  if run "$recipe"; then
    resident=$(peak_of resident "$err")
    accounted=$(peak_of accounted "$err")
    limit=$(peak_of limit "$err")
    kv=$(sed -n 's/^kv \([0-9.]* [A-Za-z]*\).*/\1/p' "$err")
    seconds=$(sed -n 's/^prompt .*, \([0-9.]*\) s,.*/\1/p' "$err")
    awk -v r="$resident" -v a="$accounted" -v k="$kv" -v s="$seconds" -v name="$recipe" 'BEGIN {
      printf "%-10.1f %-10.1f %-10s %-9s %s\n", r / 1048576, a / 1048576, k, s, name
    }' | tee -a "$table"
    [ "$resident" -le "$limit" ] || { echo "  passes --mem" | tee -a "$table"; failed=1; }
    printf '%s\n  {"recipe": %s, "resident": %s, "accounted": %s, "limit": %s, "kv": %s, "seconds": %s}' \
      "$comma" "$(quote "$recipe")" "$resident" "$accounted" "$limit" "$(quote "$kv")" \
      "$seconds" >>"$json"
  else
    failed=1
    error=$(grep -v '^$' "$err" | tail -n 1)
    echo "failed: $recipe: $error" | tee -a "$table"
    printf '%s\n  {"recipe": %s, "error": %s}' "$comma" "$(quote "$recipe")" \
      "$(quote "$error")" >>"$json"
  fi
  comma=,
done
printf '\n]}\n' >>"$json"
exit $failed
