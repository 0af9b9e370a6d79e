#!/usr/bin/env python3
"""Makes the task rows that the stages train on, and held-out ones to score, with `kvasir tasks make`.

    python make_tasks.py --kvasir PROGRAM --tokenizer DIR --out DIR [SET...]

Each set of SETS becomes OUT/SET.npz, prepared for train.py. Seeds count up from a number of the
set's own; those below 2^31 are for training. Sets named score_* are held out and stay JSON lines,
one file for each length.
"""

import argparse
import subprocess
import sys
from pathlib import Path

HELD_OUT = 1 << 31

# set -> (task, cases, bytes of context, turns, keys); 0 leaves the task's own number.
SETS = {
    "dense": [
        ("needle", 500, 800, 0, 0),
        ("multi_key", 1500, 1500, 12, 0),
        ("multi_key", 2000, 1300, 12, 12),
        ("multi_query", 1500, 1500, 12, 0),
        ("multi_value", 1500, 2200, 6, 0),
        ("shared", 1500, 1500, 12, 0),
        ("qa", 1500, 1500, 12, 4),
        ("copy", 1500, 1500, 12, 4),
        ("tracing", 1500, 1500, 12, 0),
    ],
    "extra": [
        ("kv_json", 1500, 1100, 12, 0),
        ("code_edit", 800, 1200, 8, 0),
        ("rules", 600, 900, 12, 0),
        ("common_words", 800, 1500, 0, 0),
        ("frequent_words", 400, 900, 2, 0),
    ],
    "middle": [
        ("needle", 400, 6000, 0, 0),
        ("multi_key", 800, 6500, 12, 16),
        ("multi_query", 500, 6000, 6, 0),
        ("multi_value", 500, 6000, 6, 0),
        ("shared", 500, 6000, 12, 0),
        ("qa", 500, 5500, 8, 0),
        ("copy", 300, 6000, 4, 4),
        ("tracing", 500, 6000, 8, 0),
        ("kv_json", 500, 3000, 12, 0),
        ("code_edit", 400, 3500, 8, 0),
        ("rules", 300, 2000, 12, 0),
        ("common_words", 300, 5000, 4, 0),
        ("frequent_words", 200, 2000, 2, 0),
    ],
    "long": [
        ("needle", 200, 20000, 0, 0),
        ("multi_key", 250, 19000, 12, 24),
        ("multi_key", 150, 19000, 8, 0),
        ("multi_query", 80, 19000, 4, 0),
        ("multi_value", 80, 18000, 6, 0),
        ("shared", 80, 18000, 12, 0),
        ("qa", 80, 14000, 8, 0),
        ("copy", 60, 18000, 4, 4),
        ("tracing", 80, 18000, 8, 0),
        ("kv_json", 60, 6500, 12, 0),
        ("code_edit", 40, 8000, 8, 0),
    ],
    "full": [
        ("needle", 60, 76000, 0, 0),
        ("multi_key", 60, 74000, 16, 32),
        ("shared", 20, 70000, 12, 0),
        ("qa", 20, 55000, 12, 0),
        ("multi_query", 20, 74000, 6, 0),
        ("multi_value", 20, 70000, 6, 0),
        ("tracing", 10, 70000, 8, 0),
    ],
    "score_1k": [
        ("needle", 100, 4600, 0, 0),
        ("multi_key", 100, 4300, 4, 8),
        ("multi_query", 50, 4300, 0, 0),
        ("multi_value", 50, 4000, 0, 0),
        ("tracing", 50, 4300, 0, 0),
        ("common_words", 50, 4300, 0, 0),
        ("frequent_words", 50, 1700, 0, 0),
        ("qa", 50, 3500, 2, 0),
        ("shared", 50, 4200, 4, 0),
        ("code_edit", 50, 2000, 0, 0),
        ("copy", 50, 4500, 0, 0),
        ("rules", 50, 1700, 0, 0),
        ("kv_json", 50, 1500, 0, 0),
    ],
    "score_4k": [
        ("needle", 200, 20000, 0, 0),
        ("multi_key", 100, 19500, 4, 8),
        ("multi_query", 25, 19500, 0, 0),
        ("multi_value", 25, 19000, 0, 0),
        ("tracing", 25, 19000, 0, 0),
        ("qa", 25, 15000, 2, 0),
        ("shared", 25, 19000, 4, 0),
        ("code_edit", 25, 8000, 0, 0),
        ("copy", 25, 20000, 0, 0),
        ("kv_json", 25, 6300, 0, 0),
    ],
    "score_16k": [
        ("needle", 100, 79000, 0, 0),
        ("multi_key", 25, 78000, 4, 8),
        ("qa", 10, 58000, 2, 0),
        ("shared", 10, 77000, 4, 0),
        ("copy", 10, 79000, 0, 0),
    ],
    "keys": [
        ("multi_key", 1200, 2600, 8, 8),
        ("multi_key", 600, 4000, 8, 16),
        ("multi_key", 300, 9000, 4, 8),
        ("multi_query", 600, 2500, 4, 8),
    ],
}


def make(program, first_seed, rows, out):
    with open(out, "wb") as file:
        for i, (task, count, size, turns, keys) in enumerate(rows):
            command = [program, "tasks", "make", "--format", "jsonl", "--task", task,
                       "--bytes", str(size), "--seed", str(first_seed + i * 100000),
                       "--count", str(count), "--turns", str(turns), "--keys", str(keys)]
            subprocess.run(command, stdout=file, check=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kvasir", required=True)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("sets", nargs="*", default=list(SETS), help="none: all")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for i, (name, rows) in enumerate(SETS.items()):
        if name not in args.sets:
            continue
        first_seed = (i + 1) * 10000000 + (HELD_OUT if name.startswith("score_") else 0)
        lines = args.out / f"{name}.jsonl"
        make(args.kvasir, first_seed, rows, lines)
        if not name.startswith("score_"):
            prepare = [Path(__file__).with_name("prepare.py"), "--tokenizer", args.tokenizer,
                       "--out", args.out / f"{name}.npz", lines]
            subprocess.run([sys.executable, *map(str, prepare)], check=True)


if __name__ == "__main__":
    main()
