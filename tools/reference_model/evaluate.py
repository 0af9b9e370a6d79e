#!/usr/bin/env python3
"""Scores a checkpoint: exact answers of tasks, loss of text, and what its heads look at.

    python evaluate.py --checkpoint FILE --tokenizer DIR [--tasks FILE.jsonl...]
                       [--text FILE.jsonl] [--head-map FILE.jsonl]

An answer counts when every one of its tokens, the end mark included, is the likeliest after the
right ones before it: what greedy decoding would say word for word, given right earlier turns.
"""

import argparse
import collections
import json
import math
from pathlib import Path

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer

import model as model_file
from model import Config, Model
from prepare import ANSWER, chat_parts, plain_parts
from tokenizer import BOS, END

FORMS = {
    "together": lambda encode, row: chat_parts(encode, row, context_apart=False),
    "apart": lambda encode, row: chat_parts(encode, row, context_apart=True),
    "plain": plain_parts,
}


def load(path):
    saved = torch.load(path, map_location="cpu", weights_only=True)["model"]
    layers = {name.split(".")[1] for name in saved if name.startswith("layers.")}
    model = Model(Config(n_layer=len(layers)))
    model.load_state_dict(saved)
    return model.eval()


def right_answers(model, parts):
    """One bool per answer."""
    ids = torch.tensor([i for part, _ in parts for i in part])
    hidden = model.hidden(ids[None])[0]
    right, place = [], 0
    for part, kind in parts:
        if kind == ANSWER:
            at = slice(place - 1, place + len(part) - 1)
            best = F.linear(hidden[at], model.output).argmax(-1)
            right.append(bool((best == ids[place : place + len(part)]).all()))
        place += len(part)
    return right, len(ids)


def score_tasks(model, encode, path, form, limit, only):
    counts = collections.defaultdict(lambda: [0, 0])
    used = collections.Counter()
    longest = 0
    for line in open(path):
        row = json.loads(line)
        if (only and row["task"] not in only) or used[row["task"]] >= limit:
            continue
        used[row["task"]] += 1
        right, n = right_answers(model, FORMS[form](encode, row))
        if form == "plain":
            right = [a and b for a, b in zip(right[::2], right[1::2])]
        longest = max(longest, n)
        for turn, ok in enumerate(right):
            for key in ((row["task"], "all"), (row["task"], turn + 1)):
                counts[key][0] += ok
                counts[key][1] += 1
    for task in used:
        total = counts[task, "all"]
        turns = " ".join(f"{counts[task, t][0]}/{counts[task, t][1]}"
                         for t in range(1, 13) if (task, t) in counts)
        print(f"{path.stem} {form} {task}: {total[0]}/{total[1]} = {total[0] / total[1]:.3f}"
              f"  by turn: {turns}  (up to {longest} tokens)", flush=True)


def score_text(model, encode, path, length, limit):
    ids = []
    for line in open(path):
        ids += encode(json.loads(line)["text"]) + [END]
    loss, n, n_byte = 0.0, 0, 0
    for start in range(0, min(len(ids), limit) - length, length - 1):
        row = torch.tensor([[BOS] + ids[start : start + length - 1]])
        loss += F.cross_entropy(model(row)[0, :-1], row[0, 1:], reduction="sum").item()
        n += length - 1
    print(f"{path.stem}: {loss / n:.4f} per token, perplexity {math.exp(loss / n):.2f}, {n} tokens")


class HeadMap:
    """Attention of each head, averaged over queries: to itself and 8 back, to the first token, and
    at answer tokens to the place in the context where the answer stands."""

    def __init__(self, places, targets):
        self.places, self.targets = places, targets
        self.rows = []

    def __call__(self, q, k, v):
        group = q.shape[1] // k.shape[1]
        k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
        n = q.shape[2]
        logits = q @ k.transpose(2, 3) * q.shape[-1] ** -0.5
        logits += torch.full((n, n), -math.inf).triu(1)
        w = torch.softmax(logits, -1)[0]
        back = torch.arange(n)[:, None] - torch.arange(n)
        local = (w * ((back >= 0) & (back < 9) & (torch.arange(n) > 0))).sum(-1)[:, 64:].mean(-1)
        first = w[:, 64:, 0].mean(-1)
        found = torch.stack([w[:, p, t].sum(-1) for p, t in zip(self.places, self.targets)]).mean(0)
        self.rows.append((local, first, found))
        return w[None] @ v


def head_map(model, encode, path, limit):
    sums, n = None, 0
    for line in list(open(path))[:limit]:
        row = json.loads(line)
        parts = chat_parts(encode, row, context_apart=False)
        ids = [i for part, _ in parts for i in part]
        places, targets, place = [], [], 0
        for part, kind in parts:
            if kind == ANSWER:
                value = part[:-1]
                hits = [i for i in range(len(ids) - len(value)) if ids[i : i + len(value)] == value
                        and i < place]
                if hits:
                    for j in range(len(value)):  # the query that predicts value[j]
                        places.append(place - 1 + j)
                        targets.append([h + j + d for h in hits for d in (-1, 0)])
            place += len(part)
        if not places:
            continue
        probe = HeadMap(places, targets)
        before, model_file.attend = model_file.attend, probe
        try:
            model.hidden(torch.tensor([ids]))
        finally:
            model_file.attend = before
        rows = torch.stack([torch.stack(r) for r in probe.rows])
        sums, n = rows if sums is None else sums + rows, n + 1
    print("layer head  local  first  found")
    for layer, kinds in enumerate(sums / n):
        for head in range(kinds.shape[1]):
            local, first, found = kinds[:, head].tolist()
            print(f"{layer:5} {head:4}  {local:.3f}  {first:.3f}  {found:.3f}")


@torch.no_grad()
def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--tasks", type=Path, nargs="*", default=[])
    parser.add_argument("--only", nargs="*", default=[], help="names of tasks; none: all")
    parser.add_argument("--form", choices=FORMS, default="together")
    parser.add_argument("--limit", type=int, default=100, help="cases of each task and file")
    parser.add_argument("--text", type=Path)
    parser.add_argument("--text-length", type=int, default=512)
    parser.add_argument("--text-limit", type=int, default=1 << 30, help="tokens")
    parser.add_argument("--head-map", type=Path, help="tasks to look at, the first --limit rows")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    tokenizer = Tokenizer.from_file(str(args.tokenizer / "tokenizer.json"))

    def encode(text):
        return tokenizer.encode(text, add_special_tokens=False).ids

    model = load(args.checkpoint)
    for path in args.tasks:
        score_tasks(model, encode, path, args.form, args.limit, args.only)
    if args.text:
        score_text(model, encode, args.text, args.text_length, args.text_limit)
    if args.head_map:
        head_map(model, encode, args.head_map, args.limit)


if __name__ == "__main__":
    main()
