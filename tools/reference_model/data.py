"""Batches for train.py: rows of prepared files and rows of random tokens, made on the fly."""

import glob

import numpy as np
import torch

from tokenizer import ASSISTANT, BOS, END, N_VOCAB, PAD, SPECIAL, USER

TEXT, ANSWER = 1, 2


def random_tokens(rng, n):
    return rng.integers(len(SPECIAL), N_VOCAB, n)


def repeat_row(rng, n):
    """A passage of random tokens, said again from some place after some other tokens."""
    m = int(rng.integers(n // 4, n // 2))
    passage, rest = random_tokens(rng, m), random_tokens(rng, n - 2 * m - 1)
    kinds = np.zeros(n, np.uint8)
    kinds[n - m + 4 :] = ANSWER
    return np.concatenate(([BOS], passage, rest, passage)), kinds


def recall_row(rng, n):
    """Random tokens with key-value pairs in them, then a conversation that asks for the values.

    Keys are two tokens that other keys share in part, values one to four.
    """
    n_pair, n_value = int(rng.integers(2, 17)), int(rng.integers(1, 5))
    words = random_tokens(rng, 12)
    keys = {tuple(rng.choice(words, 2)) for _ in range(n_pair)}
    pairs = [(key, random_tokens(rng, n_value)) for key in sorted(keys)]
    marks = random_tokens(rng, 4)
    facts = [np.concatenate((marks[:2], key, marks[2:3], value)) for key, value in pairs]
    asked = [pairs[i] for i in rng.permutation(len(pairs))]
    turns, kinds = [], []
    for key, value in asked:
        turn = np.concatenate(([USER], marks[1:2], key, marks[3:], [END, ASSISTANT], value, [END]))
        turns.append(turn)
        kinds.append(np.repeat([0, ANSWER], [len(turn) - n_value - 1, n_value + 1]))
    room = n - 2 - sum(map(len, facts))
    n_turn = 1
    while n_turn < len(turns) and sum(map(len, turns[: n_turn + 1])) < room // 2:
        n_turn += 1
    room -= sum(map(len, turns[:n_turn]))
    cuts = np.sort(rng.integers(0, room + 1, len(facts)))
    filler = np.split(random_tokens(rng, room), cuts)
    order = rng.permutation(len(facts))
    body = [part for i, j in enumerate(order) for part in (filler[i], facts[j])] + [filler[-1]]
    context = np.concatenate([[BOS, USER], *body])
    return (np.concatenate([context, *turns[:n_turn]]),
            np.concatenate([np.zeros(len(context), np.uint8), *kinds[:n_turn]]).astype(np.uint8))


SYNTHETIC = {"repeat": repeat_row, "recall": recall_row}


class File:
    """Rows of prepared files in a shuffled order, over again when all are used."""

    def __init__(self, pattern, rng):
        loaded = [np.load(path) for path in sorted(glob.glob(pattern))]
        if not loaded:
            raise SystemExit(f"no file matches {pattern}")
        self.rows = []
        for arrays in loaded:
            starts, tokens, kinds = arrays["starts"], arrays["tokens"], arrays["kinds"]
            self.rows += [(tokens[a:b], kinds[a:b]) for a, b in zip(starts, starts[1:])]
        self.rng, self.order = rng, []

    def __call__(self, rng, n):
        if not len(self.order):
            self.order = list(self.rng.permutation(len(self.rows)))
        return self.rows[self.order.pop()]


class Mix:
    """Draws batches: each of one source, chosen by weight.

    spec: "NAME=WEIGHT[@LENGTH],..." where NAME is a synthetic source (rows of LENGTH) or a pattern
    of .npz files; rows longer than LENGTH are passed over.
    """

    def __init__(self, spec, seed, n_token, n_ctx, gap_share):
        self.rng = np.random.default_rng(seed)
        self.n_token, self.n_ctx, self.gap_share = n_token, n_ctx, gap_share
        self.sources = []
        for item in spec.split(","):
            name, _, rest = item.partition("=")
            weight, _, length = rest.partition("@")
            make = SYNTHETIC.get(name) or File(name, np.random.default_rng(seed))
            label = name.rsplit("/", 1)[-1].split(".")[0].rstrip("*")
            self.sources.append((label, make, float(weight), int(length or n_ctx)))
        weights = np.array([weight for _, _, weight, _ in self.sources])
        self.shares = weights / weights.sum()

    def positions(self, n):
        """0, 1, 2, ... with up to three gaps, so that short rows show long distances."""
        positions = np.arange(n)
        if self.rng.random() >= self.gap_share or n >= self.n_ctx:
            return positions
        room = int(self.rng.integers(0, self.n_ctx - n + 1))
        cuts = np.sort(self.rng.integers(1, n, 3))
        ends = np.sort(self.rng.integers(0, room + 1, 3))
        gaps = np.diff(ends, prepend=0)
        for cut, gap in zip(cuts, gaps):
            positions[cut:] += gap
        return positions

    def next(self):
        """(label, tokens, kinds, positions): tensors (batch, n) of about n_token tokens in all."""
        label, make, _, length = self.sources[self.rng.choice(len(self.sources), p=self.shares)]
        rows, longest = [], 0
        while True:
            tokens, kinds = make(self.rng, length)
            if len(tokens) > length:
                continue
            rows.append((tokens, kinds))
            longest = max(longest, len(tokens))
            if (len(rows) + 1) * longest > self.n_token:
                break
        batch_tokens = np.full((len(rows), longest), PAD)
        batch_kinds = np.zeros((len(rows), longest), np.uint8)
        batch_positions = np.zeros((len(rows), longest), np.int64)
        for i, (tokens, kinds) in enumerate(rows):
            batch_tokens[i, : len(tokens)] = tokens
            batch_kinds[i, : len(tokens)] = kinds
            batch_positions[i] = self.positions(longest)
        return (label, torch.from_numpy(batch_tokens.astype(np.int64)),
                torch.from_numpy(batch_kinds), torch.from_numpy(batch_positions))
