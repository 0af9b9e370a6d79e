#!/usr/bin/env python3
"""Computes the divergences of an audit again, from dumped logits, with numpy.

    python tools/check_audit.py --program build/kvasir -m MODEL -f TEXT -c 200 -n 40 \
        --kv q8_0 --kv streaming:64 [-ub 1]

For every recipe the logits of the text are dumped with `kvasir logits`, which reads all of it as a
prompt, and compared with those of `exact`: KL by the definition in float64, and the most likely
tokens. They must equal what `kvasir audit` says of the positions of its prompt. With -ub 1 both
read one token at a time, so that recipes that encode or evict alike in prompts and in decode (a
codec, or streaming with every=1) must agree over the tokens fed one at a time too: --decode.

Ends with status 1 where a figure differs by more than 1e-6 + 1e-5 of its size.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", default="build/kvasir")
    parser.add_argument("-m", "--model", required=True)
    parser.add_argument("-f", "--file", required=True)
    parser.add_argument("-c", "--length", type=int, default=200)
    parser.add_argument("-n", "--n-decode", type=int, default=40)
    parser.add_argument("-ub", "--ubatch", type=int, default=64)
    parser.add_argument("--kv", action="append", required=True)
    parser.add_argument("--decode", action="store_true",
                        help="compare the tokens fed one at a time too")
    return parser.parse_args()


def run(words):
    return subprocess.run(words, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout


def log_softmax(logits):
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def dump(args, tokens, recipe, folder):
    path = Path(folder) / "logits.f32"
    run([args.program, "logits", "-m", args.model, "--tokens", " ".join(map(str, tokens)), "--kv",
         recipe, "-ub", str(args.ubatch), "-o", str(path)])
    return np.fromfile(path, np.float32).reshape(len(tokens), -1).astype(np.float64)


def compare(name, recipe, found, kl, top1):
    position = np.array(found["by_position"]["position"])
    expected_kl, expected_top1 = kl[position], top1[position]
    worst = np.abs(np.array(found["by_position"]["kl"]) - expected_kl)
    ok = bool(np.all(worst <= 1e-6 + 1e-5 * expected_kl))
    ok &= bool(np.all(np.array(found["by_position"]["top1"]) == expected_top1))
    ok &= abs(found["kl_mean"] - expected_kl.mean()) <= 1e-6 + 1e-5 * expected_kl.mean()
    print(f"{'ok   ' if ok else 'WRONG'} {recipe:32} {name:7} {len(position):5} positions, mean KL "
          f"{expected_kl.mean():.6g} (audit {found['kl_mean']:.6g}), largest difference "
          f"{worst.max():.2g}")
    return ok


def main():
    args = arguments()
    words = [args.program, "audit", "-m", args.model, "-f", args.file, "-c", str(args.length), "-n",
             str(args.n_decode), "-ub", str(args.ubatch), "--no-baselines", "--no-heads", "-o",
             "json", "--prompt-positions", str(args.length)]
    for recipe in args.kv:
        words += ["--kv", recipe]
    audit = json.loads(run(words))
    tokens = audit["text"]["tokens"]
    ok = True
    with tempfile.TemporaryDirectory() as folder:
        exact = dump(args, tokens, "exact", folder)
        for row in audit["recipes"]:
            other = dump(args, tokens, row["recipe"], folder)
            p, q = log_softmax(exact), log_softmax(other)
            kl = (np.exp(p) * (p - q)).sum(axis=1)
            top1 = exact.argmax(axis=1) == other.argmax(axis=1)
            ok &= compare("prompt", row["recipe"], row["prompt"], kl, top1)
            if args.decode:
                ok &= compare("decode", row["recipe"], row["decode"], kl, top1)
    sys.exit(0 if ok else 1)


if __name__ == "__main__":
    main()
