#!/bin/sh
# Installs what is missing, builds, and asks the reference model about a long document under a small
# memory limit: scripts/demo.sh [BYTES OF THE DOCUMENT]. Then the table of what each recipe cost.
set -eu
cd "$(dirname "$0")/.."
./scripts/build.sh kvasir_cli >&2
kvasir=./build/kvasir
model=models/kvasir-ref.gguf
work=build/demo
mkdir -p "$work"

make_case() {
  $kvasir tasks make --task multi_key --bytes "$1" --seed 2147484777 --turns 4 --count 1 --format "$2"
}
make_case "${1:-60000}" text >"$work/case.txt"
make_case "${1:-60000}" chat >"$work/chat.json"
sed '/^Question: /,$d' "$work/case.txt" >"$work/document.txt"
question=$(sed -n 's/^Question: //p' "$work/case.txt" | head -n 1)
answer=$(sed -n 's/^Answer: //p' "$work/case.txt" | head -n 1)

printf '\n%s bytes of text (%s), then: %s\nThe text says: %s\n' \
  "$(wc -c <"$work/document.txt")" "$work/document.txt" "$question" "$answer"
for recipe in exact int4h "keydiff:2048"; do
  printf '\n$ kvasir chat -m %s -f %s -p "..." --temp 0 --mem 40M --kv %s\n' \
    "$model" "$work/document.txt" "$recipe"
  $kvasir chat -m "$model" -f "$work/document.txt" -p "$question" -n 16 --temp 0 --mem 40M \
    --kv "$recipe" </dev/null || true
done

printf '\n$ kvasir audit -m %s -f %s --kv int4h --kv keydiff:2048\n' "$model" "$work/chat.json"
exec $kvasir audit -m "$model" -f "$work/chat.json" -n 96 --kv int4h --kv "keydiff:2048" \
  --html "$work/audit.html"
