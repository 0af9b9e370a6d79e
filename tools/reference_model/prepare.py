#!/usr/bin/env python3
"""Turns JSON lines of text or of tasks into one .npz of token ids for train.py.

    python prepare.py --tokenizer DIR --out FILE.npz [--length N] FILE.jsonl...

Text rows {"text"} are joined and cut into rows of --length tokens. Task rows (`kvasir tasks make`)
become one conversation each, in one of three forms drawn by the row's seed: the context and the
first question in one message, the context in a message of its own, or plain text. The file holds
`tokens` of all rows, `kinds` (0: not trained on, 1: text, 2: answer) and `starts`, the rows' places.
"""

import argparse
import json
import random
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from tokenizer import ASSISTANT, BOS, END, USER

TEXT, ANSWER = 1, 2


class Rows:
    def __init__(self):
        self.tokens, self.kinds, self.starts = [], [], [0]

    def add(self, parts):
        """parts: (ids, kind) one after another."""
        for ids, kind in parts:
            self.tokens += ids
            self.kinds += [kind] * len(ids)
        self.starts.append(len(self.tokens))

    def save(self, path):
        np.savez(path, tokens=np.array(self.tokens, np.uint16), kinds=np.array(self.kinds, np.uint8),
                 starts=np.array(self.starts, np.int64))


def chat_parts(encode, row, context_apart):
    parts = [([BOS, USER], 0)]
    if context_apart:
        parts += [(encode(row["context"]), TEXT), ([END, USER], 0)]
    for i, turn in enumerate(row["turns"]):
        if i > 0:
            parts.append(([USER], 0))
        question = turn["question"]
        if i == 0 and not context_apart:
            question = row["context"] + "\n\n" + question
        parts += [(encode(question), TEXT), ([END, ASSISTANT], 0)]
        parts.append((encode(" " + turn["answer"]) + [END], ANSWER))
    return parts


def plain_parts(encode, row):
    parts = [([BOS], 0), (encode(row["context"]), TEXT)]
    for turn in row["turns"]:
        parts.append((encode(f"\n\nQuestion: {turn['question']}\nAnswer:"), TEXT))
        parts.append((encode(" " + turn["answer"]), ANSWER))
        parts.append((encode("\n"), ANSWER))
    return parts


def task_parts(encode, row):
    draw = random.Random(row["seed"]).random()
    if draw < 0.1:
        return plain_parts(encode, row)
    return chat_parts(encode, row, context_apart=draw < 0.2)


def add_text(rows, encode, texts, length):
    pending = []
    for text in texts:
        pending += encode(text) + [END]
        while len(pending) >= length - 1:
            rows.add([([BOS], 0), (pending[: length - 1], TEXT)])
            pending = pending[length - 1 :]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--length", type=int, default=512, help="of rows of text")
    parser.add_argument("--seed", type=int, default=1, help="of the order of texts")
    parser.add_argument("files", type=Path, nargs="+")
    args = parser.parse_args()
    tokenizer = Tokenizer.from_file(str(args.tokenizer / "tokenizer.json"))

    def encode(text):
        return tokenizer.encode(text, add_special_tokens=False).ids

    rows, texts = Rows(), []
    for path in args.files:
        for line in open(path):
            row = json.loads(line)
            if "text" in row:
                texts.append(row["text"])
            else:
                rows.add(task_parts(encode, row))
    random.Random(args.seed).shuffle(texts)
    add_text(rows, encode, texts, args.length)
    rows.save(args.out)
    print(f"{args.out}: {len(rows.starts) - 1} rows, {len(rows.tokens)} tokens")


if __name__ == "__main__":
    main()
